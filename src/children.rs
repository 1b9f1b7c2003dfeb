//! Programs that perceptd starts.

use std::io;
use std::process::{Child, Command};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Starts `command`, which inherits nothing but the standard streams that it is given: no device (v4l opens cameras without
/// close-on-exec, and a program that keeps one open after it was pulled out keeps its number, too), and not what systemd tells perceptd.
///
/// # Errors
/// When it cannot be started.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    // Where there is no /proc, what was opened without the flag is inherited.
    for entry in std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(descriptor @ 3..) = number {
            // One that is closed meanwhile needs no flag.
            let _closed = fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
        }
    }
    command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID").spawn()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd as _;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_program_inherits_no_descriptor() {
        let device = File::open("/dev/zero").unwrap();
        fcntl(device.as_raw_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let mut links = Command::new("sh");
        links.args(["-c", "readlink /proc/$$/fd/*"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let output = spawn(&mut links).unwrap().wait_with_output().unwrap();
        let links = String::from_utf8(output.stdout).unwrap();
        assert!(links.contains("/dev/null") && !links.contains("/dev/zero"), "{links}");
    }
}

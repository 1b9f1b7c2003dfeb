//! Which program holds a device: what a person wants to know of a busy one.

use std::path::Path;

/// Name and number of another process that has the device open, where we may see it (as its user, or as root).
pub(super) fn holder_of(device: &Path) -> Option<String> {
    let device = device.canonicalize().ok()?;
    let own = std::process::id().to_string();
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let pid = process.file_name().to_string_lossy().into_owned();
        if pid == own || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        if files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|target| target == device)) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", name.trim()));
        }
    }
    None
}

/// `busy: NAME (process N) holds it`, or how to find out: the shipped unit sees no other user's processes. `device` is empty where it is
/// not known as a file.
pub(super) fn busy(device: &Path) -> String {
    match holder_of(device) {
        Some(holder) => format!("busy: {holder} holds it"),
        None if device.as_os_str().is_empty() => "busy: another program holds it".to_owned(),
        None => format!(
            "busy: another program holds it, which perceptd may not see: `fuser -v {}` as root names it",
            device.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_holder_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let told = busy(file.path());
        let way = format!("`fuser -v {}` as root", file.path().display());
        assert!(told.starts_with("busy: another program holds it") && told.contains(&way), "{told}");
        assert_eq!(busy(Path::new("")), "busy: another program holds it");
        let held = file.reopen().unwrap();
        let mut holder =
            Command::new("sleep").arg("60").stdin(held).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let told = busy(file.path());
        holder.kill().unwrap();
        holder.wait().unwrap();
        // Between fork and exec the process still has the test's own name.
        assert!(told.ends_with(&format!("(process {}) holds it", holder.id())), "{told}");
    }
}

//! Who holds a device, and who may open it: what a person wants to know of one that does not open.

use std::os::unix::fs::MetadataExt as _;
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

/// `permission denied`, with the group whose members may open it.
pub(super) fn denied(device: &Path) -> String {
    let group = std::fs::metadata(device).ok().and_then(|metadata| name_of_group(metadata.gid()));
    match group.filter(|group| group != "root") {
        Some(group) => format!(
            "permission denied: members of the group `{group}` may open it (`adduser USER {group}` as root, then log in again)"
        ),
        None => "permission denied: root alone may open it, as it seems; a udev rule gives it to a group".to_owned(),
    }
}

fn name_of_group(gid: u32) -> Option<String> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    let mut groups = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    groups.find_map(|fields| (fields.get(2)?.parse() == Ok(gid)).then(|| fields.first().copied().map(str::to_owned))?)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_group_that_may_open_it_is_named() {
        assert_eq!(name_of_group(0).as_deref(), Some("root"));
        assert_eq!(name_of_group(u32::MAX), None);
        let file = tempfile::NamedTempFile::new().unwrap();
        let told = denied(file.path());
        let own = name_of_group(file.as_file().metadata().unwrap().gid()).filter(|group| group != "root");
        match own {
            Some(group) => assert!(told.contains(&format!("`adduser USER {group}` as root")), "{told}"),
            None => assert!(told.contains("root alone"), "{told}"),
        }
    }

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

//! Reading of whole files, up to a size: whatever lies where a picture or a config is looked for must not fill the memory. And making of new
//! ones, which never take the place of another.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

/// 2²⁰ bytes.
pub const MIB: u64 = 1 << 20;

/// The bytes of a file.
///
/// # Errors
/// When it cannot be read, or has more than `most_bytes`, which is told without reading it where its length is known.
pub fn read_at_most(path: &Path, most_bytes: u64) -> Result<Vec<u8>> {
    let file = File::open(path)?;
    let in_words = |bytes| in_words(bytes, most_bytes);
    let too_large =
        |has: String| Error::new(ErrorKind::FileTooLarge, format!("{has}; at most {} are read", in_words(most_bytes)));
    // That of a pipe or a device is 0.
    let length = file.metadata()?.len();
    if length > most_bytes {
        return Err(too_large(format!("it has {}", in_words(length))));
    }
    let mut bytes = Vec::new();
    file.take(most_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most_bytes { Err(too_large("it has more".to_owned())) } else { Ok(bytes) }
}

/// The text of a file.
///
/// # Errors
/// As [`read_at_most`], or when it is no UTF-8.
pub fn read_text_at_most(path: &Path, most_bytes: u64) -> Result<String> {
    String::from_utf8(read_at_most(path, most_bytes)?)
        .map_err(|why| Error::new(ErrorKind::InvalidData, why.utf8_error()))
}

/// Whether it is neither a file nor a folder, which says so itself when it is read, but a device or a pipe, which may have no end.
#[must_use]
pub fn is_special(found: &Metadata) -> bool {
    !found.is_file() && !found.is_dir()
}

/// Opens a file, and nothing else: a pipe would be waited for, a device may have no end.
///
/// # Errors
/// When it is something else or cannot be opened.
pub fn open_file(path: &Path) -> Result<File> {
    if is_special(&std::fs::metadata(path)?) {
        return Err(Error::other("it is a device or a pipe, no file"));
    }
    File::open(path)
}

/// Makes a file that must not be there: nothing is written over, not by another name or link either.
///
/// # Errors
/// When it is there or cannot be made.
pub fn create_new(path: &Path) -> Result<File> {
    File::create_new(path).map_err(|why| match why.kind() {
        ErrorKind::AlreadyExists => {
            Error::new(ErrorKind::AlreadyExists, "it is there already: name another file, or remove it first")
        }
        _ => why,
    })
}

/// As [`create_new`], but what is no file, such as a pipe or `/dev/null`, is written to; and what is open already, by a name such as
/// `/dev/stdout`, is written on at its end.
///
/// # Errors
/// As [`create_new`].
pub fn create_new_or_open_pipe(path: &Path) -> Result<File> {
    match std::fs::metadata(path) {
        Ok(found) if is_special(&found) => File::options().write(true).open(path),
        Ok(_) if names_what_is_open(path) => File::options().append(true).open(path),
        _ => create_new(path),
    }
}

/// Whether it is a name of a file that this process holds open, wherever that lies.
fn names_what_is_open(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    match path.parent().and_then(Path::to_str) {
        Some("/dev") => matches!(name, "stdout" | "stderr"),
        Some("/dev/fd" | "/proc/self/fd") => name.parse::<u32>().is_ok(),
        _ => false,
    }
}

/// In the unit in which the limit is a whole number.
fn in_words(bytes: u64, most_bytes: u64) -> String {
    if most_bytes.is_multiple_of(MIB) { format!("{} MiB", bytes.div_ceil(MIB)) } else { format!("{bytes} bytes") }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello").unwrap();
        assert_eq!(read_text_at_most(file.path(), 5).unwrap(), "hello");
        let error = read_at_most(file.path(), 4).unwrap_err();
        assert_eq!(error.to_string(), "it has 5 bytes; at most 4 bytes are read");
        std::fs::write(file.path(), [0xff]).unwrap();
        assert_eq!(read_text_at_most(file.path(), 5).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_device_is_no_file() {
        assert!(open_file(Path::new("/dev/zero")).unwrap_err().to_string().contains("a device or a pipe"));
        assert!(open_file(tempfile::NamedTempFile::new().unwrap().path()).is_ok());
    }

    #[test]
    fn no_file_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, hard, nowhere] = ["file", "link", "hard", "nowhere"].map(|name| folder.path().join(name));
        create_new(&file).unwrap();
        std::fs::write(&file, "dear").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        std::os::unix::fs::symlink(folder.path().join("absent"), &nowhere).unwrap();
        std::fs::hard_link(&file, &hard).unwrap();
        for there in [&file, &link, &hard, &nowhere] {
            for made in [create_new(there), create_new_or_open_pipe(there)] {
                let told = made.unwrap_err().to_string();
                assert_eq!(told, "it is there already: name another file, or remove it first", "{}", there.display());
            }
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "dear");
        assert!(create_new_or_open_pipe(Path::new("/dev/null")).is_ok());
        let open = File::options().write(true).open(&file).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&open);
        create_new_or_open_pipe(Path::new(&format!("/proc/self/fd/{number}"))).unwrap().write_all(b"est").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "dearest");
        let roundabout = Path::new("/proc/self/fd/../../..").join(file.strip_prefix("/").unwrap());
        assert!(create_new_or_open_pipe(&roundabout).is_err());
    }

    #[test]
    fn what_is_too_large_is_refused_without_reading_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // More than there is memory for; a hole, which takes no place on the disk.
        file.as_file().set_len(1 << 42).unwrap();
        let error = read_at_most(file.path(), 64 * MIB).unwrap_err();
        assert_eq!(error.to_string(), "it has 4194304 MiB; at most 64 MiB are read");
        let a_little = read_at_most(file.path(), MIB + 1).unwrap_err();
        assert_eq!(a_little.to_string(), "it has 4398046511104 bytes; at most 1048577 bytes are read");
        let endless = read_at_most(Path::new("/dev/zero"), MIB).unwrap_err();
        assert_eq!(endless.to_string(), "it has more; at most 1 MiB are read");
    }
}

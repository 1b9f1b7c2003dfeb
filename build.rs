//! Compiles every `proto/**/*.proto` into `$OUT_DIR/<package>.rs`, without protoc; and, for recordings, which carry their own schemas,
//! the descriptors of the messages that stand in them into `$OUT_DIR/recording.fds.bin`.

use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let root = Path::new("proto");
    let mut files = Vec::new();
    find_protos(root, &mut files)?;
    files.sort();
    let descriptors = protox::compile(&files, [root])?;
    prost_build::Config::new().btree_map(["."]).compile_fds(descriptors)?;

    let mut recorded = protox::Compiler::new([root])?;
    recorded.include_imports(true);
    recorded.open_files(files.iter().filter(|file| !file.starts_with("proto/perceptd/v1")))?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("recording.fds.bin"), recorded.encode_file_descriptor_set())?;
    Ok(())
}

fn find_protos(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_protos(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            found.push(path);
        }
    }
    Ok(())
}

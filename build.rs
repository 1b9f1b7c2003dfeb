//! Compiles every `proto/**/*.proto` into `$OUT_DIR/<package>.rs`, without protoc; and, for recordings, which carry their own schemas,
//! the descriptors of what sensors gave into `$OUT_DIR/recording.fds.bin` and of what a replay adds into `$OUT_DIR/findings.fds.bin`.

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

    let sensors_gave =
        ["proto/perceptd/recording", "proto/foxglove/CompressedImage.proto", "proto/foxglove/RawImage.proto"];
    let (recorded, found) = files.iter().partition(|file| sensors_gave.iter().any(|given| file.starts_with(given)));
    write_descriptors(root, recorded, "recording.fds.bin")?;
    write_descriptors(root, found, "findings.fds.bin")
}

fn write_descriptors(root: &Path, files: Vec<&PathBuf>, name: &str) -> Result<(), Box<dyn Error>> {
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_imports(true);
    compiler.open_files(files)?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join(name), compiler.encode_file_descriptor_set())?;
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

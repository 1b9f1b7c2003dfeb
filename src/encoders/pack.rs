//! A pack's folder: every file read through its digest, the space id computed anew.

use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::bank::{self, Means, hex};
use super::manifest::{MANIFEST_FILE, Manifest};
use super::{BankTensors, EncodersError, SpaceId};
use crate::files::{MIB, open_file, read_at_most, read_text_at_most};
use crate::modality::Modality;

/// A patch map's cell covers this many pixels of each side (the contract's rows, cols = size / 32).
const CELL_PX: usize = 32;

/// Largest bank or list of words that is read.
const MOST_BYTES: u64 = 1024 * MIB;

/// A folder whose manifest, means and space id are in order.
pub(super) struct Pack {
    folder: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) means: Means,
    pub(super) space: SpaceId,
}

impl Pack {
    /// Reads the manifest and the bank's means; checks the space id. Other files are checked when they are read.
    pub(super) fn open(folder: &Path) -> Result<Self, EncodersError> {
        let path = folder.join(MANIFEST_FILE);
        let fault = |why: String| EncodersError::Pack { path: path.clone(), why };
        let text = open_file(&path)
            .and_then(|_file| read_text_at_most(&path, MIB))
            .map_err(|why| fault(format!("cannot be read ({why}): name a model pack's folder, with --pack or as `path` under [pack] in the config")))?;
        let manifest = Manifest::parse(&text).map_err(fault)?;
        let mut pack = Self {
            folder: folder.to_owned(),
            means: Means::default(),
            space: manifest.space.id.as_str().into(),
            manifest,
        };
        let bank_file = pack.manifest.bank.file.clone();
        let bytes = pack.read(&bank_file)?;
        pack.means = Means::read(&bytes, pack.dim()).map_err(|why| pack.fault(&bank_file, why))?;
        if let Some(modality) = Modality::ALL.into_iter().find(|m| pack.lacks_mean(*m)) {
            return Err(pack.fault(&bank_file, format!("it lacks the tensor `mean.{modality}`")));
        }
        let computed = pack.space_id();
        if computed != pack.manifest.space.id {
            // A digest that is wrong changes the id too, and says more of what to do.
            pack.manifest.files.keys().try_for_each(|file| pack.checked(file).map(drop))?;
            let why = format!(
                "space.id = \"{}\", but these files make {computed}: use a pack as it was built",
                pack.manifest.space.id
            );
            return Err(pack.fault(MANIFEST_FILE, why));
        }
        Ok(pack)
    }

    pub(super) fn dim(&self) -> usize {
        self.manifest.space.dim
    }

    /// Rows and columns of the patch map.
    pub(super) fn grid(&self) -> Option<(usize, usize)> {
        self.manifest.image.as_ref().map(|image| (image.map_size[0] / CELL_PX, image.map_size[1] / CELL_PX))
    }

    /// An error about one file of the pack.
    pub(super) fn fault(&self, file: &str, why: impl Into<String>) -> EncodersError {
        EncodersError::Pack { path: self.folder.join(file), why: why.into() }
    }

    /// The bytes of a file that the manifest lists, if they have the digest that it states.
    pub(super) fn read(&self, file: &str) -> Result<Vec<u8>, EncodersError> {
        let path = self.folder.join(file);
        let bytes = open_file(&path).and_then(|_file| read_at_most(&path, MOST_BYTES));
        let bytes = bytes.map_err(|why| self.unreadable(file, &why))?;
        self.compare(file, &hex(&Sha256::digest(&bytes))).map(|()| bytes)
    }

    /// The path of a file that the manifest lists, if its bytes have the digest that it states.
    pub(super) fn checked(&self, file: &str) -> Result<PathBuf, EncodersError> {
        let path = self.folder.join(file);
        let found = digest(&path).map_err(|why| self.unreadable(file, &why))?;
        self.compare(file, &found).map(|()| path)
    }

    fn unreadable(&self, file: &str, why: &std::io::Error) -> EncodersError {
        self.fault(file, format!("cannot be read ({why}): copy the pack anew"))
    }

    fn compare(&self, file: &str, found: &str) -> Result<(), EncodersError> {
        let stated = self.manifest.files.get(file).map_or("", String::as_str);
        if stated == found {
            return Ok(());
        }
        let why = format!(
            "its SHA-256 is {found}, but {MANIFEST_FILE} states {stated}: it is damaged or of another pack; copy the pack anew"
        );
        Err(self.fault(file, why))
    }

    /// The bank without its means, read anew.
    pub(super) fn bank(&self) -> Result<BankTensors, EncodersError> {
        let file = &self.manifest.bank.file;
        bank::read(&self.read(file)?, self.manifest.bank.revision, self.dim(), self.grid())
            .map_err(|why| self.fault(file, why))
    }

    fn lacks_mean(&self, modality: Modality) -> bool {
        self.manifest.facts(modality).is_some() && self.means.of(modality).is_none()
    }

    fn space_id(&self) -> String {
        let files = self.manifest.files.iter().filter(|(file, _)| **file != self.manifest.bank.file);
        let mut lines: String = files.map(|(file, sha256)| format!("{file} {sha256}\n")).collect();
        lines.push_str(&format!("means {}\n", self.means.sha256));
        let digest = hex(&Sha256::digest(lines));
        format!("p{}-{}", self.dim(), digest.get(..16).unwrap_or_default())
    }
}

/// SHA-256 of a file, read piece by piece, so that the heap never holds the whole.
fn digest(path: &Path) -> std::io::Result<String> {
    let (mut file, mut sha256, mut piece) = (open_file(path)?, Sha256::new(), vec![0; 65_536]);
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok(hex(&sha256.finalize()));
        }
        sha256.update(piece.get(..count).unwrap_or_default());
    }
}

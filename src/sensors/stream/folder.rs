//! A folder of JPEG or PNG pictures as a camera.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::files::read_at_most;
use crate::media::{CameraFrame, LEAST_SIDE_PX, MOST_PICTURE_BYTES, Picture, PixelFormat};
use crate::modality::SensorId;
use crate::sensors::settings::{FolderOrder, FolderSettings};
use crate::sensors::{Sample, SampleData, Sensor, SensorError, pause_until};
use crate::telemetry::SensorState;
use crate::time::{MonoTime, now, unix_now_nanos};

/// A new picture is taken when it was not written to for this long: cameras that upload are not done at once.
const SETTLED_NANOS: i64 = 300_000_000;

/// From one look for new pictures to the next.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// So many broken pictures are named in the log; all are counted.
const MOST_NAMED: usize = 100;

/// A picture's place in the order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Unix time of the last change; 0 where names alone order.
    changed_nanos: i64,
    name: PathBuf,
}

/// How far pictures that are given once were given. It outlives the opened folder: that one is moved away and back is no reason to give
/// them again.
#[derive(Clone, Debug, Default)]
pub(in crate::sensors) struct Progress(Arc<Mutex<Given>>);

#[derive(Debug, Default)]
struct Given {
    /// The last one in the order.
    last: Option<Place>,
    pictures: u64,
    broken: u64,
    /// The first pictures that cannot be read, by name.
    named: BTreeSet<PathBuf>,
}

impl Given {
    /// Counts a broken picture; whether it shall be named, which each is once.
    fn is_news(&mut self, file: &Path) -> bool {
        self.broken += 1;
        self.named.len() < MOST_NAMED && self.named.insert(file.to_owned())
    }
}

pub(super) struct Folder {
    id: SensorId,
    settings: FolderSettings,
    waiting: VecDeque<Place>,
    progress: Progress,
    due: MonoTime,
    look_at: MonoTime,
    seq: u64,
    refused: u64,
}

impl Folder {
    pub(super) fn open(id: SensorId, settings: &FolderSettings, progress: &Progress) -> Result<Self, SensorError> {
        let (settings, progress, time) = (settings.clone(), progress.clone(), now());
        let waiting = VecDeque::new();
        let mut folder = Self { id, settings, waiting, progress, due: time, look_at: time, seq: 0, refused: 0 };
        folder.look()?;
        if folder.waiting.is_empty() && folder.settings.repeat {
            return Err(folder.lost("it holds no .jpg, .jpeg or .png"));
        }
        Ok(folder)
    }

    fn lost(&self, why: impl ToString) -> SensorError {
        SensorError::Lost { device: self.settings.folder.display().to_string(), why: why.to_string() }
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.progress.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists what is there; without `loop` only what comes after the last one.
    fn look(&mut self) -> Result<(), SensorError> {
        self.look_at = now() + LOOK_EVERY;
        let settled_before = unix_now_nanos() - SETTLED_NANOS;
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.settings.folder).map_err(|error| self.lost(error))? {
            let Ok(entry) = entry else { continue };
            let (name, Ok(metadata)) = (entry.path(), entry.path().metadata()) else { continue };
            let changed_nanos = metadata
                .modified()
                .ok()
                .and_then(|time| i64::try_from(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_nanos()).ok());
            let changed_nanos = changed_nanos.unwrap_or(0);
            if !metadata.is_file() || !is_picture(&name) || changed_nanos > settled_before {
                continue;
            }
            let changed_nanos = if self.settings.order == FolderOrder::Time { changed_nanos } else { 0 };
            found.push(Place { changed_nanos, name });
        }
        found.sort_unstable();
        let given = self.given();
        found.retain(|place| given.last.as_ref().is_none_or(|last| place > last));
        drop(given);
        self.waiting = found.into();
        Ok(())
    }

    /// The next picture's file; none when there is none now.
    fn next_file(&mut self) -> Result<Option<PathBuf>, SensorError> {
        if self.waiting.is_empty() && (self.settings.repeat || now() >= self.look_at) {
            self.look()?;
        }
        let Some(place) = self.waiting.pop_front() else { return Ok(None) };
        let name = place.name.clone();
        if !self.settings.repeat {
            self.given().last = Some(place);
        }
        Ok(Some(name))
    }
}

impl Sensor for Folder {
    fn next(&mut self, timeout: Duration) -> Result<Option<Sample>, SensorError> {
        let deadline = now() + timeout;
        let never = AtomicBool::new(false);
        if self.due > deadline {
            pause_until(deadline, &never);
            return Ok(None);
        }
        pause_until(self.due, &never);
        let Some(file) = self.next_file()? else {
            pause_until(deadline.min(self.look_at), &never);
            return Ok(None);
        };
        let arrived_at = now();
        // In step with the rate, unless we fell behind.
        self.due = (self.due + Duration::from_secs_f64(1.0 / self.settings.rate_hz)).max(arrived_at);
        self.seq += 1;
        let frame = match read(&file) {
            Ok(frame) => frame,
            Err(why) => {
                self.refused += 1;
                let (sensor, name) = (&self.id, file.display());
                if self.given().is_news(&file) {
                    tracing::warn!(%sensor, file = %name, why, "this picture cannot be used and is passed over");
                } else {
                    tracing::debug!(%sensor, file = %name, why, "a picture is passed over");
                }
                return Ok(None);
            }
        };
        self.given().pictures += 1;
        let (sensor, seq, data) = (self.id.clone(), self.seq - 1, SampleData::Image(frame));
        Ok(Some(Sample { sensor, captured_at: arrived_at, arrived_at, seq, data }))
    }

    fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    fn at_rest(&self) -> Option<SensorState> {
        if self.settings.repeat || !self.waiting.is_empty() {
            return None;
        }
        let folder = self.settings.folder.display();
        let given = self.given();
        Some(match (given.pictures, given.broken) {
            (0, 0) => SensorState::Stalled(format!("{folder}: there is no picture in it (.jpg, .jpeg or .png)")),
            (0, broken) => SensorState::Stalled(format!("{folder}: none of its {broken} pictures can be read")),
            _ => SensorState::Ok,
        })
    }
}

fn is_picture(name: &Path) -> bool {
    let extension = name.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn read(file: &Path) -> Result<CameraFrame, String> {
    let bytes = read_at_most(file, MOST_PICTURE_BYTES).map_err(|error| error.to_string())?;
    let frame = if bytes.starts_with(&[0xff, 0xd8]) {
        CameraFrame::of_whole_jpeg(bytes).map_err(|error| error.to_string())?
    } else {
        let Picture { width, height, rgb } = Picture::from_bytes(&bytes).map_err(|error| error.to_string())?;
        CameraFrame { width, height, format: PixelFormat::Rgb8, bytes: rgb.into() }
    };
    let (width, height) = (frame.width, frame.height);
    if width.min(height) < LEAST_SIDE_PX {
        return Err(format!("it has {width} x {height} pixels; {LEAST_SIDE_PX} x {LEAST_SIDE_PX} is the least"));
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    /// Writes a picture of one grey that was last changed this long ago.
    fn put(folder: &Path, name: &str, grey: u8, secs_ago: u64) {
        let picture = Picture { width: 16, height: 16, rgb: vec![grey; 768] };
        std::fs::write(folder.join(name), picture.to_png().unwrap()).unwrap();
        let file = std::fs::File::options().write(true).open(folder.join(name)).unwrap();
        file.set_modified(
            SystemTime::UNIX_EPOCH + Duration::from_nanos(unix_now_nanos() as u64) - Duration::from_secs(secs_ago),
        )
        .unwrap();
    }

    fn folder(path: &Path, order: FolderOrder, repeat: bool) -> Result<Folder, SensorError> {
        let settings = FolderSettings { folder: path.to_owned(), order, rate_hz: 1000.0, repeat };
        Folder::open(SensorId::new("front").unwrap(), &settings, &Progress::default())
    }

    fn greys(folder: &mut Folder, count: usize) -> Vec<u8> {
        let grey = |sample: Sample| match sample.data {
            SampleData::Image(frame) => frame.bytes[0],
            other => panic!("{other:?}"),
        };
        let reads = (0..200).filter_map(|_| folder.next(Duration::from_millis(10)).unwrap());
        reads.take(count).map(grey).collect()
    }

    #[test]
    fn pictures_come_in_the_wanted_order_over_and_over() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "b.png", 1, 30);
        put(dir.path(), "c.PNG", 2, 20);
        put(dir.path(), "a.png", 3, 10);
        std::fs::write(dir.path().join("notes.txt"), "no picture").unwrap();
        let read = |order| greys(&mut folder(dir.path(), order, true).unwrap(), 4);
        assert_eq!(read(FolderOrder::Name), [3, 1, 2, 3]);
        assert_eq!(read(FolderOrder::Time), [1, 2, 3, 1]);
    }

    #[test]
    fn without_loop_each_comes_once_and_new_ones_follow() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "a.png", 1, 30);
        std::fs::write(dir.path().join("b.png"), "broken").unwrap();
        put(dir.path(), "large.png", 9, 20);
        let large = std::fs::File::options().write(true).open(dir.path().join("large.png")).unwrap();
        let changed = large.metadata().unwrap().modified().unwrap();
        large.set_len(MOST_PICTURE_BYTES + 1).unwrap();
        large.set_modified(changed).unwrap();
        let mut folder = folder(dir.path(), FolderOrder::Time, false).unwrap();
        let tiny = Picture { width: 1, height: 1, rgb: vec![7; 3] };
        std::fs::write(dir.path().join("tiny.png"), tiny.to_png().unwrap()).unwrap();
        let jpeg = Picture { width: 16, height: 16, rgb: vec![8; 768] }.to_jpeg(90).unwrap();
        std::fs::write(dir.path().join("half.jpg"), &jpeg[..jpeg.len() - 20]).unwrap();
        for (name, why) in [("tiny.png", "16 x 16 is the least"), ("half.jpg", "it ends early"), ("b.png", "neither")] {
            let told = read(&dir.path().join(name)).unwrap_err();
            assert!(told.contains(why), "{name}: {told}");
        }
        assert_eq!(greys(&mut folder, 9), [1]);
        put(dir.path(), "c.png", 2, 1);
        assert_eq!(greys(&mut folder, 1), [2]);
    }

    #[test]
    fn each_broken_picture_is_named_once() {
        let mut given = Given::default();
        assert!(given.is_news(Path::new("a.png")) && given.is_news(Path::new("b.png")));
        assert!(!given.is_news(Path::new("a.png")));
        let news = (0..1_000).filter(|n| given.is_news(Path::new(&n.to_string()))).count();
        assert_eq!((news, given.broken), (MOST_NAMED - 2, 1_003));
    }

    #[test]
    fn a_folder_that_comes_back_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (path, away) = (dir.path().join("here"), dir.path().join("away"));
        std::fs::create_dir(&path).unwrap();
        put(&path, "a.png", 1, 30);
        let settings =
            FolderSettings { folder: path.clone(), order: FolderOrder::Name, rate_hz: 1000.0, repeat: false };
        let (id, progress) = (SensorId::new("front").unwrap(), Progress::default());
        let open = || Folder::open(id.clone(), &settings, &progress);
        assert_eq!(greys(&mut open().unwrap(), 1), [1]);
        std::fs::rename(&path, &away).unwrap();
        assert!(open().is_err());
        std::fs::rename(&away, &path).unwrap();
        put(&path, "b.png", 2, 1);
        let mut folder = open().unwrap();
        assert_eq!(greys(&mut folder, 9), [2]);
        assert_eq!(folder.at_rest(), Some(SensorState::Ok));
    }

    #[test]
    fn a_folder_without_a_picture_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = folder(dir.path(), FolderOrder::Name, false).unwrap();
        let told = |folder: &Folder| folder.at_rest().map(|state| state.reason().to_owned()).unwrap_or_default();
        assert!(told(&folder).contains("there is no picture in it"), "{}", told(&folder));
        put(dir.path(), "a.png", 1, 30);
        std::fs::write(dir.path().join("a.png"), "broken").unwrap();
        let deadline = now() + Duration::from_secs(10);
        while folder.take_refused() == 0 {
            assert!(now() < deadline && folder.next(Duration::from_millis(50)).unwrap().is_none());
        }
        assert!(told(&folder).contains("none of its 1 pictures"), "{}", told(&folder));
    }

    #[test]
    fn a_folder_that_is_gone_or_empty_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let error = folder(dir.path(), FolderOrder::Name, true).err().unwrap().to_string();
        assert!(error.contains("it holds no .jpg"), "{error}");
        let mut open = folder(dir.path(), FolderOrder::Name, false).unwrap();
        drop(dir);
        let deadline = now() + Duration::from_secs(10);
        while open.next(Duration::from_millis(50)).is_ok() {
            assert!(now() < deadline);
        }
    }
}

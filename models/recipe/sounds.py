"""The recordings that the sound encoder is made from: which files of which Debian packages, what each is, and what it is used for.

The table below was made by hand from file names and spectrograms. Recordings whose content could not be told are not in it.
A class may have several sources (packages made by different people); figures are taken across sources, because a recording of the
same session says little about the next microphone. What stands in `held_out_sounds.txt` is never used here, and neither are two files that hold a part of the same recordings (found by
cross-correlation): Widelands' duck_02 and Wesnoth's horse-die.
"""

import hashlib
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from logmel import SAMPLE_RATE_HZ
from paths import MODELS, WORK

HELD_OUT_SOUNDS = MODELS / "recipe" / "held_out_sounds.txt"
PACKAGES = WORK / "sound_packages"

# package: (folder of the sounds, licence as its debian/copyright states it)
SOURCES = {
    "tuxpaint-stamps-default": ("usr/share/tuxpaint/stamps", "GPL-2, 2002-2022 Bill Kendrick and the Tux Paint stamp authors"),
    "widelands-data": ("usr/share/games/widelands/data", "GPL-2+, 2002-2019 the Widelands Development Team"),
    "wesnoth-1.16-data": ("usr/share/games/wesnoth/1.16", "GPL-2+, 2003-2022 the Battle for Wesnoth Project"),
    "lincity-ng-data": ("usr/share/games/lincity-ng/sounds", "GPL-2+ or CC-BY-SA-2.0, 2005-2008 the LinCity-NG authors"),
    "sound-theme-freedesktop": ("usr/share/sounds/freedesktop/stereo", "CC-BY-SA-3.0, CC-BY-3.0 and GPL-2+ by file, its debian/copyright names the authors"),
    "lomiri-sounds": ("usr/share/sounds/lomiri", "CC-BY-SA-3.0, CC-BY-4.0, CC-BY-3.0 and CC0-1.0 by file, its debian/copyright names the authors"),
}
SHORT = {"tp": "tuxpaint-stamps-default", "wl": "widelands-data", "wz": "wesnoth-1.16-data", "lc": "lincity-ng-data",
         "fd": "sound-theme-freedesktop", "lo": "lomiri-sounds"}

# class: (names whose text vectors are averaged into the anchor, glob patterns by source)
CLASSES = {
    # animals
    "duck": (["duck"], "tp:animals/birds/duck tp:animals/birds/drake lc:ParklandLake[12]"),
    "goose": (["goose"], "tp:animals/birds/gander"),
    "hen": (["hen", "chicken"], "tp:animals/birds/hen lc:Farm3 lc:OrganicFarm3"),
    "rooster": (["rooster", "chicken"], "tp:animals/birds/rooster"),
    "turkey": (["turkey bird"], "tp:animals/birds/turkey"),
    "crow": (["crow"], "tp:animals/birds/crow"),
    "owl": (["owl"], "tp:animals/birds/owl"),
    "cuckoo": (["cuckoo bird"], "tp:animals/birds/cuckoo"),
    "seagull": (["seagull"], "tp:animals/birds/seagull lc:Harbor3"),
    "songbird": (["bird", "songbird"], "tp:animals/birds/blackbird tp:animals/birds/lark wl:sound/animals/bird?_* lc:Green[13] lc:ParklandPlane[12] lc:Monument1 wz:data/core/sounds/ambient/birds?"),
    "penguin": (["penguin"], "tp:animals/birds/penguin"),
    "toucan": (["toucan"], "tp:animals/birds/tucan tp:animals/birds/quetzal"),
    "vulture": (["vulture"], "tp:animals/birds/vulture"),
    "heron": (["heron"], "tp:animals/birds/heron_greatblue_flying"),
    "bee": (["bee", "hornet"], "tp:animals/insects/bee tp:animals/insects/hornet"),
    "mosquito": (["mosquito"], "tp:animals/insects/mosquito"),
    "cricket": (["cricket insect", "grasshopper"], "tp:animals/insects/grasshopper wl:sound/animals/crickets* wz:data/core/sounds/ambient/night"),
    "frog": (["frog"], "tp:animals/amphibians/frog wl:sound/animals/frog"),
    "chimpanzee": (["chimpanzee"], "tp:animals/mammals/apes/chimp"),
    "gorilla": (["gorilla"], "tp:animals/mammals/apes/gorilla"),
    "dolphin": (["dolphin"], "tp:animals/mammals/aquatic/dolphin"),
    "orca": (["killer whale"], "tp:animals/mammals/aquatic/orca"),
    "whale": (["whale"], "tp:animals/mammals/aquatic/whale"),
    "sea lion": (["sea lion"], "tp:animals/mammals/aquatic/sea_lion"),
    "badger": (["badger"], "tp:animals/mammals/badger"),
    "bear": (["bear"], "tp:animals/mammals/bears/bear"),
    "bison": (["bison"], "tp:animals/mammals/bovines/bison"),
    "cow": (["cow"], "tp:animals/mammals/bovines/cow tp:animals/mammals/bovines/cow_white tp:animals/mammals/bovines/bull wl:sound/farm/ox_* lc:OrganicFarm2"),
    "goat": (["goat"], "tp:animals/mammals/bovines/goat tp:animals/mammals/bovines/ram"),
    "sheep": (["sheep"], "tp:animals/mammals/bovines/sheep tp:animals/mammals/bovines/sheep_lamb wl:sound/farm/sheep_*"),
    "camel": (["camel"], "tp:animals/mammals/camel/camel tp:animals/mammals/camel/dromedary"),
    "lion": (["lion"], "tp:animals/mammals/cats/lion"),
    "tiger": (["tiger"], "tp:animals/mammals/cats/tiger"),
    "cat": (["cat"], "tp:seasonal/halloween/blackcat"),
    "deer": (["deer"], "tp:animals/mammals/deer/deer tp:animals/mammals/deer/doe wl:sound/animals/stag_* wl:sound/animals/moose_*"),
    "caribou": (["caribou"], "tp:animals/mammals/deer/caribou"),
    "dog": (["dog"], "tp:animals/mammals/dogs/dog lc:Shanty5"),
    "fox": (["fox"], "tp:animals/mammals/dogs/fox"),
    "coyote": (["coyote"], "wl:sound/animals/coyote_*"),
    "wolf": (["wolf"], "wl:sound/animals/wolf_* wz:data/core/sounds/wolf-*"),
    "elephant": (["elephant"], "tp:animals/mammals/elephant"),
    "donkey": (["donkey"], "tp:animals/mammals/equines/donkey wl:sound/farm/donkey"),
    "horse": (["horse"], "tp:animals/mammals/equines/horse wl:sound/farm/horse_* wz:data/core/sounds/horse-hit-*"),
    "hooves": (["galloping horse", "horse"], "wz:data/core/sounds/horse-*canter lc:DirtTrack2"),
    "zebra": (["zebra"], "tp:animals/mammals/equines/zebra"),
    "ferret": (["ferret"], "tp:animals/mammals/ferret"),
    "hippopotamus": (["hippopotamus"], "tp:animals/mammals/hippopotamus"),
    "pig": (["pig"], "tp:animals/mammals/pig tp:animals/mammals/pig_golden* wl:sound/animals/boar wl:sound/farm/farm_animal_*"),
    "mouse": (["mouse animal"], "tp:animals/mammals/rodents/mouse"),
    "rabbit": (["rabbit"], "tp:animals/mammals/rodents/rabbit"),
    "squirrel": (["squirrel"], "tp:animals/mammals/rodents/squirrel"),
    "koala": (["koala"], "tp:animals/marsupials/koala"),
    "bat": (["bat animal"], "tp:seasonal/halloween/bat_left wz:data/core/sounds/bat-hit-*"),
    "snake": (["snake"], "wz:data/core/sounds/hiss*"),
    # people
    "speech": (["person", "person speaking"], "tp:speech fd:audio-channel-*"),
    "crowd": (["crowd of people"], "wl:sound/barbarians/taverns/* wl:sound/empire/taverns/* lc:SportsCroud* lc:School3 lc:MarketFull1"),
    "laughing": (["person laughing"], "wz:data/core/sounds/dwarf-laugh wz:data/campaigns/World_Conquest/sounds/witches-laugh"),
    "scream": (["person screaming"], "wz:data/core/sounds/human-*"),
    "heartbeat": (["heartbeat", "heart"], "lc:Health5"),
    # tools and things
    "hammer": (["hammer"], "tp:household/tools/hammer tp:household/tools/mallet_metal wl:sound/hammering/* wl:sound/smiths/toolsmith_*"),
    "anvil": (["anvil", "blacksmith"], "wl:sound/smiths/smith_* wl:sound/metal/ironping wl:sound/metal/goldping"),
    "saw": (["saw", "hand saw"], "tp:household/tools/saw wl:sound/atlanteans/saw/* wl:sound/sawmill/*"),
    "axe": (["axe"], "wl:sound/woodcutting/*woodcutting* wz:data/core/sounds/axe wz:data/core/sounds/hatchet"),
    "tree falling": (["falling tree", "tree"], "wl:sound/woodcutting/tree_falling_*"),
    "stonecutter": (["stone", "chisel"], "wl:sound/stonecutting/* wl:sound/atlanteans/cutting/*"),
    "scythe": (["scythe"], "wl:sound/farm/scythe_00"),
    "loom": (["loom"], "wl:sound/mill/weaving wl:sound/barbarians/weaver"),
    "mill": (["mill", "millstone"], "wl:sound/mill/mill_turning_* wl:sound/barbarians/stonegrind"),
    "windmill": (["windmill"], "lc:WindMill[123]"),
    "bottle": (["bottle"], "tp:household/dishes/bottle"),
    "glass": (["drinking glass"], "tp:household/dishes/glass"),
    "kettle": (["kettle"], "tp:household/kettle"),
    "toilet": (["toilet"], "tp:household/toilet"),
    "vacuum cleaner": (["vacuum cleaner"], "tp:household/vacuum_cleaner"),
    "washing machine": (["washing machine"], "tp:household/Washing-machine"),
    "rubber duck": (["rubber duck"], "tp:household/rubberduck"),
    "scissors": (["scissors"], "tp:household/arttools/scissors_*"),
    "apple": (["apple"], "tp:food/fruit/apple_red"),
    "camera": (["camera"], "tp:hobbies/camera_35mm fd:camera-shutter lo:camera/*/*"),
    "coins": (["coins", "gold coins"], "wz:data/core/sounds/gold"),
    "sword": (["sword"], "wz:data/core/sounds/sword-1 wz:data/core/sounds/dagger-swish wz:data/core/sounds/knife"),
    "bow": (["bow and arrow"], "wz:data/core/sounds/bow wz:data/core/sounds/bow-puny wz:data/core/sounds/bow-miss wz:data/core/sounds/crossbow"),
    # signals
    "siren": (["fire engine", "siren"], "tp:vehicles/emergency/firetruck lc:FireStation[23] lc:Health[34]"),
    "bell": (["bell"], "fd:bell wz:sounds/bell lc:School2 lc:ResidentialLow3"),
    "telephone": (["telephone"], "fd:phone-* lo:ringtones/Call*"),
    "alarm clock": (["alarm clock"], "fd:alarm-clock-elapsed lo:ringtones/Alarm*"),
    "horn": (["horn instrument", "hunting horn"], "wz:data/core/sounds/horn-signals/* wl:sound/military/under_attack"),
    "bugle": (["trumpet", "bugle"], "tp:military/final-roll-call wz:data/core/sounds/fanfare-short"),
    # instruments
    "violin": (["violin"], "tp:hobbies/music/string/violin"),
    "cello": (["cello"], "tp:hobbies/music/string/cello"),
    "bassoon": (["bassoon"], "tp:hobbies/music/wind/bassoon"),
    "cymbal": (["cymbal"], "tp:hobbies/music/percussion/cymbal_crash"),
    "drum": (["drum"], "tp:hobbies/music/percussion/drum* wz:data/core/sounds/ambient/wardrums"),
    "piano": (["piano"], "lo:ringtones/Melody*"),
    "harp": (["harp"], "lo:ringtones/Harp*"),
    "marimba": (["marimba", "xylophone"], "lo:ringtones/*arimba* lo:ringtones/Marimbach lo:notifications/Xylo lo:notifications/Mallet"),
    "wind chime": (["wind chime"], "lo:ringtones/Wind*"),
    # vehicles
    "train": (["train", "locomotive"], "lc:RailTrain*"),
    "ship": (["ship", "ship horn"], "lc:Harbor[12]"),
    "traffic": (["car", "traffic"], "lc:Trafic* lc:ResidentialHigh[12] lc:DirtTrack[13]"),
    "racing car": (["racing car"], "tp:town/flags/checkeredflag"),
    "submarine": (["submarine"], "tp:vehicles/ship/cartoon/bathyscape"),
    "rocket": (["rocket"], "lc:Rocket1 lc:RocketTakeoff1"),
    "machine": (["machine", "factory"], "lc:Industry* lc:OreMine* lc:CoalMine* lc:Recycle* lc:PowerCoal*"),
    "tractor": (["tractor"], "lc:Farm2"),
    # nature, fire, blasts
    "fire": (["fire"], "lc:Fire[123] wz:data/core/sounds/ambient/campfire wl:sound/metal/furnace wz:data/core/sounds/torch wz:data/core/sounds/fire"),
    "water": (["water", "waves"], "lc:Water5 wz:data/core/sounds/water-blast wl:sound/fisher/*"),
    "thunder": (["lightning", "thunderstorm"], "tp:naturalforces/lightningbolt wz:data/core/sounds/lightning"),
    "gunshot": (["gun", "rifle"], "wz:data/core/sounds/gunshot wz:data/core/sounds/thunderstick"),
    "explosion": (["explosion"], "lc:RocketExplosion1 lc:Raze? wz:data/core/sounds/explosion"),
    "fireworks": (["fireworks"], "tp:seasonal/newyears/fireworks"),
    "bubbles": (["bubbles", "beer"], "wl:sound/empire/*bubble_*"),
}
# Of a sound but of no thing one would ask for: what "nothing" sounds like. Digests decide which half is trained on and which calibrates.
BACKGROUND = (
    "lc:Green4 lc:ResidentialHigh3 lc:Monument[23] lc:MonumentConstruction? lc:Tip[13] lc:Mill? lc:PowerSolar[12] lc:PowerLine1 "
    "lc:WindMillHTech2 lc:Build? lc:Click lc:WindowOpen lc:Commune[123] lc:ResidentialMed? lc:Blacksmith[23] lc:Rocket4 lc:MarketMed1 "
    "lc:University? lc:Substation* lc:Pottery? fd:message fd:message-new-instant fd:complete fd:dialog-* fd:device-* fd:service-* "
    "fd:trash-empty fd:audio-volume-change fd:suspend-error lo:notifications/[ABEPRS]* lo:notifications/LowBattery lo:ringtones/[BCEL]* "
    "wz:data/core/sounds/magic-* wz:data/core/sounds/miss-* wz:data/core/sounds/*-miss wz:data/core/sounds/squishy-* "
    "wz:data/core/sounds/skeleton-* wz:data/core/sounds/zombie-* wz:data/core/sounds/ghoul-hit wz:data/core/sounds/rumble "
    "wz:data/core/sounds/cave-in wz:data/core/sounds/heal wz:data/core/sounds/poison wz:data/core/sounds/slowed wz:data/core/sounds/net "
    "wz:data/core/sounds/open-chest wz:data/core/sounds/throw-* wz:data/core/sounds/mud-* wz:data/core/sounds/ambient/ship "
    "wz:sounds/[acejlrst]* wz:sounds/button wl:sound/other/* wl:sound/metal/fizzle wl:sound/message_* wl:sound/lobby_* wl:sound/click "
    "wl:sound/create_* tp:animals/lizards/iguana tp:animals/insects/xanthia tp:seasonal/christmas/* tp:town/roadsigns/*"
)
SPEECH_TRAIN_FILES = 160
_SPEECH_NAME = re.compile(r"_desc(_[A-Za-z]{2,3}([_@]\w+)?)?\.ogg$")
_LOCALISED = re.compile(r"_(desc|[a-z]{2}(_[a-zA-Z]{2})?(@\w+)?)\.ogg$")


@dataclass(frozen=True)
class Recording:
    path: Path
    package: str
    in_package: str
    sha256: str

    def samples(self) -> np.ndarray:
        return load(self.path)


def load(path: Path) -> np.ndarray:
    """Mono f32 at 16 kHz. Channels are averaged: game sounds are often a mono sound panned to one side."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(1)
    if rate_hz != SAMPLE_RATE_HZ:
        common = int(np.gcd(rate_hz, SAMPLE_RATE_HZ))
        mono = resample_poly(mono, SAMPLE_RATE_HZ // common, rate_hz // common).astype(np.float32)
    return mono


def fetch() -> None:
    """Downloads the packages with apt and unpacks their sounds (not their pictures) once."""
    for package in SOURCES:
        folder = PACKAGES / package
        if (folder / ".complete").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        debs = sorted(PACKAGES.glob(f"{package}_*.deb"))
        if not debs:
            subprocess.run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", package], cwd=PACKAGES, check=True)
            debs = sorted(PACKAGES.glob(f"{package}_*.deb"))
        unpack = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", debs[-1]], stdout=subprocess.PIPE)
        with tarfile.open(fileobj=unpack.stdout, mode="r|") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith((".ogg", ".oga", ".wav", "/copyright")):
                    target = folder / member.name.lstrip("./")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.extractfile(member).read())
        if unpack.wait() != 0:
            raise RuntimeError(f"{debs[-1]} could not be unpacked")
        (folder / ".complete").touch()


@cache
def _recording(path: Path) -> Recording:
    package = path.relative_to(PACKAGES).parts[0]
    return Recording(path, package, "/" + str(path.relative_to(PACKAGES / package)), hashlib.sha256(path.read_bytes()).hexdigest())


def held_out() -> dict[str, tuple[str, str]]:
    """sha256 → (class, role) of the recordings kept for the demo."""
    rows = (line.split("\t") for line in HELD_OUT_SOUNDS.read_text().splitlines() if line and not line.startswith("#"))
    return {sha256: (name, role) for name, _, sha256, role in rows}


def _find(patterns: str) -> list[Recording]:
    found: dict[str, Recording] = {}
    for pattern in patterns.split():
        source, glob = pattern.split(":")
        package = SHORT[source]
        folder = PACKAGES / package / SOURCES[package][0]
        if glob == "speech":
            paths = _spoken(folder)
        else:
            paths = [p for p in folder.glob(glob + ".*") if p.suffix in (".ogg", ".oga", ".wav")]
            if source == "tp":
                paths = [p for p in paths if not _LOCALISED.search(p.name)]
        if not paths:
            raise FileNotFoundError(f"{pattern}: no such sound in {package}")
        for path in sorted(paths):
            recording = _recording(path)
            found.setdefault(recording.sha256, recording)
    kept = held_out()
    return [r for r in found.values() if r.sha256 not in kept]


def _spoken(folder: Path) -> list[Path]:
    """Tux Paint's spoken descriptions: many voices, many languages. A fixed choice, spread by digest of the name."""
    spoken = [p for p in folder.rglob("*.ogg") if _SPEECH_NAME.search(p.name)]
    return sorted(spoken, key=lambda p: hashlib.sha256(p.name.encode()).digest())[:SPEECH_TRAIN_FILES]


@cache
def recordings() -> dict[str, list[Recording]]:
    """class → its recordings, without those held out for the demo."""
    fetch()
    return {name: _find(patterns) for name, (_, patterns) in CLASSES.items()}


@cache
def background() -> tuple[list[Recording], list[Recording]]:
    """(trained on, calibrated on)."""
    fetch()
    promptable = {r.sha256 for group in recordings().values() for r in group}
    found = [r for r in _find(BACKGROUND) if r.sha256 not in promptable]
    return [r for r in found if int(r.sha256[0], 16) % 2 == 0], [r for r in found if int(r.sha256[0], 16) % 2 == 1]


def demo() -> list[tuple[str, str, Recording]]:
    """(class, role, recording) kept for the demo."""
    fetch()
    rows = (line.split("\t") for line in HELD_OUT_SOUNDS.read_text().splitlines() if line and not line.startswith("#"))
    out = []
    for name, where, sha256, role in rows:
        package, path = where.split(":")
        recording = _recording(PACKAGES / package / path.lstrip("/"))
        if recording.sha256 != sha256:
            raise ValueError(f"{where} is not the file that was held out (its SHA-256 differs)")
        out.append((name, role, recording))
    return out


def demo_class(name: str) -> str:
    """The trained class that a held-out recording belongs to."""
    return {"chicken": "hen"}.get(name, name)


def by_source() -> dict[str, dict[str, list[Recording]]]:
    """class → package → recordings."""
    out: dict[str, dict[str, list[Recording]]] = {}
    for name, group in recordings().items():
        for recording in group:
            out.setdefault(name, {}).setdefault(recording.package, []).append(recording)
    return out


def cross_source_split() -> tuple[dict[str, list[Recording]], dict[str, list[Recording]]]:
    """(train, test): of each class with two sources or more, the source with the fewest recordings is the test."""
    train, test = {}, {}
    for name, sources in by_source().items():
        order = sorted(sources, key=lambda package: (len(sources[package]), package))
        left_out = order[0] if len(order) > 1 else None
        if left_out:
            test[name] = sources[left_out]
        train[name] = [r for package in order if package != left_out for r in sources[package]]
    return train, test


def one_package_split(package: str) -> tuple[dict[str, list[Recording]], dict[str, list[Recording]]]:
    """(train, test): what the package has, and what all others have of the same classes, those held out for the demo first."""
    train, test = {}, {}
    for name, sources in by_source().items():
        if package in sources:
            train[name] = sources[package]
            held = [r for demo_name, _, r in demo() if demo_class(demo_name) == name]
            test[name] = held + [r for other in sorted(sources) if other != package for r in sources[other]]
    return train, {name: group for name, group in test.items() if group}


@contextmanager
def only(names: Iterable[str]) -> Iterator[None]:
    """Within it, these are all classes that there are."""
    global CLASSES
    recordings()  # which are remembered: of all classes
    every = CLASSES
    CLASSES = {name: every[name] for name in names}
    try:
        yield
    finally:
        CLASSES = every


if __name__ == "__main__":
    train, test = cross_source_split()
    for name, sources in by_source().items():
        print(f"{name:16}", {k.split("-")[0]: len(v) for k, v in sources.items()}, f"train {len(train[name])} test {len(test.get(name, []))}")
    print(len(CLASSES), "classes,", sum(map(len, recordings().values())), "recordings,", len(test), "classes with a second source,",
          sum(map(len, test.values())), "test recordings, background", *(len(h) for h in background()))

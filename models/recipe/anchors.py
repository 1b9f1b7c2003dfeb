"""The anchor space: text vectors of the 1,000 ImageNet classes, in which an image is a mixture of classes (ConSE, Norouzi et al. 2014).

`class_matrix` is what the image head multiplies with; `smooth` is the text side; `text_vectors` are the published text vectors that
sounds and motion are trained towards. No image is used here.
"""

import ast
from functools import cache
from importlib.metadata import distribution

import numpy as np

from minilm import MiniLm
from paths import DIM, WORK

# Few, plain, and without a style: each is one more sentence around the name, averaged away.
TEMPLATES = ("{}", "a photo of a {}.", "a photo of the {}.", "a close-up photo of a {}.", "a {} in the scene.")
SMOOTHING_TEMPERATURE = 0.1
SMOOTHED_SHARE = 0.5


@cache
def minilm() -> MiniLm:
    return MiniLm()


def _data_file(package: str, name: str) -> str:
    """A file of an installed package, read without importing it: these packages pull in a newer torch than ours."""
    return distribution(package).locate_file(name).read_text(encoding="utf-8")


@cache
def class_names() -> list[str]:
    source = ast.parse(_data_file("open_clip_torch", "open_clip/zero_shot_metadata.py"))
    for node in source.body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "IMAGENET_CLASSNAMES":
            return list(ast.literal_eval(node.value))
    raise LookupError("open_clip has no IMAGENET_CLASSNAMES")


def synset_texts() -> list[tuple[str, str]]:
    """(lemmas, definition) of every class."""

    def table(name):
        lines = _data_file("timm", f"timm/data/_info/{name}").splitlines()
        return dict(line.split("\t", 1) for line in lines)

    lemmas, definitions = table("imagenet_synset_to_lemma.txt"), table("imagenet_synset_to_definition.txt")
    synsets = _data_file("timm", "timm/data/_info/imagenet_synsets.txt").split()
    return [(lemmas[s], definitions[s]) for s in synsets]


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def softmax(logits: np.ndarray) -> np.ndarray:
    share = np.exp(logits - logits.max(-1, keepdims=True))
    return share / share.sum(-1, keepdims=True)


@cache
def class_texts() -> np.ndarray:
    """[1000, 384] unit, uncentred: the average of a class's name in templates, its lemmas and its definition."""
    kept = WORK / "class_texts.npy"
    if kept.exists():
        return np.load(kept)
    sentences, owner, weight = [], [], []
    for c, (name, (lemma, definition)) in enumerate(zip(class_names(), synset_texts(), strict=True)):
        group = [(t.format(name), 1.0 / len(TEMPLATES)) for t in TEMPLATES]
        group += [(part.strip(), 0.5 / (lemma.count(",") + 1)) for part in lemma.split(",")]
        group += [(f"{name}: {definition}", 0.5)]
        for sentence, w in group:
            sentences.append(sentence), owner.append(c), weight.append(w)
    encoded = minilm().encode(sentences).numpy() * np.array(weight, np.float32)[:, None]
    matrix = np.zeros((1000, DIM), np.float32)
    np.add.at(matrix, owner, encoded)
    matrix = unit(matrix)
    WORK.mkdir(exist_ok=True)
    np.save(kept, matrix)
    return matrix


def class_mean() -> np.ndarray:
    return class_texts().mean(0)


@cache
def class_matrix() -> np.ndarray:
    """[1000, 384] centred unit vectors: what the head multiplies its softmax with."""
    return unit(class_texts() - class_mean())


def smooth(uncentred: np.ndarray) -> np.ndarray:
    """Half the (centred) text itself, half its neighbourhood among the classes: pulls a free text to where images can be."""
    own = unit(uncentred - class_mean())
    share = softmax(own @ class_matrix().T / SMOOTHING_TEMPERATURE)
    return (1 - SMOOTHED_SHARE) * own + SMOOTHED_SHARE * unit(share @ class_matrix())


@cache
def text_mean() -> np.ndarray:
    """`mean.text`: of unit outputs over the prompts that the background cohort is made of."""
    return unit(smooth(minilm().encode(prompts()).numpy())).mean(0)


def prompts() -> list[str]:
    """Plain prompts of things, for the mean and the cohort: class names, with and without the commonest frame."""
    return [*class_names(), *(f"a photo of a {name}" for name in class_names())]


def text_vectors(texts: list[str]) -> np.ndarray:
    """[n, 384] published text vectors (f32 reference of text.onnx): unit(unit(output) − mean.text)."""
    return unit(unit(smooth(minilm().encode(list(texts)).numpy())) - text_mean()).astype(np.float32)


if __name__ == "__main__":
    v = text_vectors(["a dog barking", "dog", "cat", "fire engine", "siren", "rain"])
    print(np.round(v @ v.T, 2))

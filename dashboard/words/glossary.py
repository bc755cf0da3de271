"""The words of the pages, each in a sentence or two: one page shows them all, and tooltips take theirs from here."""

OPENING = (
    "TDQ makes trained image networks smaller, by **tensor decomposition** (a layer's weights become a product of "
    "smaller ones) and **quantization** (numbers of few bits), for whoever must fit one into a budget of megabytes or "
    "milliseconds: every point is a measured run."
)
GLOSSARY: dict[str, dict[str, str]] = {
    "What is measured": {
        "Top-1": "The share of images whose most likely class is the right one, in per cent.",
        "Drop": "Top-1 of the untouched network in FP32 minus that of the compressed one, on the same images, in "
        "points: a drop of 1 means one more image of a hundred is wrong. Below zero the compressed network is right "
        "more often.",
        "Interval": "Where the true value lies in 95 of 100 such measurements, judged from the images alone. Drops are "
        "paired: both networks answer the same images, so that only those count on which they differ.",
        "Verdict": "Of a drop that should be at most a bound: *shown*, the whole interval is within it; *consistent*, "
        "only its middle is, so that more images may tell either way; *missed*, not even that.",
        "Params, MACs": "Numbers that a network stores, and multiplications with additions that it does for one image.",
        "3x smaller": "The original over the compressed: at 3x a third is kept. Of params, of MACs or of the bytes of "
        "the file, as is said beside it.",
        "Pareto front": "Runs that no other run beats in size and accuracy at once.",
        "Dense": "As it was trained: nothing is decomposed.",
    },
    "How a network is made smaller": {
        "Tensor decomposition": "A layer's weights, a block of numbers with one side for each of outputs, inputs and "
        "pixels, are written as a product of smaller blocks: one layer becomes a chain of two to four small ones.",
        "Tucker-2": "Decomposition of outputs and inputs: a small convolution between two that mix channels.",
        "CP": "A kernel as a sum of components, each a product of vectors. The smallest chain, and the hardest to "
        "round.",
        "SVD": "Decomposition of a matrix: two layers in place of one.",
        "Spatial": "A k x k kernel as a vertical one and a horizontal one.",
        "Auto": "To each layer the method that suits it.",
        "Rank": "How many terms a decomposition has: fewer are smaller and less exact.",
        "Calibrated": "Factors are fitted to what each layer computes on unlabelled images, not to its weights alone.",
        "Uniform, later, global": "How a ratio is shared out over the layers: to all alike, to later layers first, or "
        "where it costs least error.",
        "VBMF": "A rule that finds ranks from the noise in the weights (Nakajima et al. 2013).",
        "EPC": "Error-preserving correction: makes the components of a CP small, at the same error (Phan et al. 2020).",
        "Eta": "How much that error may grow in return.",
    },
    "How numbers get fewer bits": {
        "Quantization": "Weights, and what passes between layers, are rounded to a grid of few steps.",
        "FP32, FP16, INT8": "Floating-point numbers of 32 and 16 bits, integers of 8.",
        "W4A8 and the like": "Weights of 4 bits and activations of 8; weights alone where there is no A.",
        "Conditioned": "Before rounding, the ranges inside a decomposed layer are brought into balance (equalised) and "
        "mean shifts taken back, which leaves the network as it is in floating point.",
        "PyTorch, ONNX Runtime": "What runs the network: files of the one or of the other.",
        "Interaction": "What decomposition and INT8 lose together, minus what they lose apart: zero where the two add "
        "up.",
        "Squared change": "How far the answers (logits) move from the dense network's: the mean of the squared "
        "distance, over their mean square. Two changes that have nothing to do with each other add up in it.",
    },
}
SOURCES = (
    "Tucker-2 for convolutions: Kim et al., ICLR 2016, after Tucker 1966 and De Lathauwer et al. 2000.",
    "CP for convolutions: Lebedev et al., ICLR 2015, after Harshman 1970 and Carroll and Chang 1970.",
    "EPC: Phan et al., ECCV 2020. VBMF: Nakajima et al., JMLR 2013. Equalisation: Nagel et al., ICCV 2019.",
    "The page *Study* repeats the study behind TDQ: Tucker-2 and CP, then INT8, on networks for CIFAR-10.",
)


def meaning(term: str) -> str:
    """For a tooltip; a KeyError where the word is not in the glossary."""
    return {name: said for terms in GLOSSARY.values() for name, said in terms.items()}[term]

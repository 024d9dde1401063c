"""Graph: a model as ONNX, from our own forest and head, and the answers of onnxruntime.

::

    column of numbers ------------------------------------+
    column of categories -> LabelEncoder -----------------+-> Concat -> TreeEnsemble -> Add -> margin -> probability
    bucket of a wide column -> Gather (its weights) ----------------------------------->+
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gbdtlr.errors import ConfigError
from gbdtlr.export.ensemble import Ensemble
from gbdtlr.export.rows import Rows
from gbdtlr.head import Head
from gbdtlr.model import Model
from gbdtlr.trees import FrozenTrees
from gbdtlr.trees.forest import ZERO

OPSET, ML_OPSET, IR = 18, 5, 10
DENSE = 2**20
"""Buckets up to which all of a wide column have a place in the table that is gathered from; else only those in use."""
MARGIN, PROBABILITY = "margin", "probability"
_MOST_BYTES = 2**31 - 2**20  # what protobuf can write, and some room for names


@dataclass
class _Nodes:
    """A graph that is being put together: constants and nodes, each named by what it gives."""

    dtype: type[np.floating[Any]]
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(self, operator: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def ml(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        return self.add(operator, inputs, output, "ai.onnx.ml", **attributes)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        self.constants.append(tensor(name, values))
        return name


def tensor(name: str, values: NDArray[Any]) -> Any:
    """ONNX tensor of numbers, or of texts."""
    from onnx import TensorProto, helper, numpy_helper

    if values.dtype.kind in "OU":
        return helper.make_tensor(name, TensorProto.STRING, list(values.shape), [text.encode() for text in values])
    return numpy_helper.from_array(np.ascontiguousarray(values), name)


def bucket_input(name: str) -> str:
    """Name of the input that takes a wide column's bucket."""
    return f"bucket:{name}"


def build(model: Model, dtype: type[np.floating[Any]], properties: Mapping[str, str]) -> bytes:
    """The model as an ONNX file: the same bytes for the same model.

    Inputs are (n, 1) each and named by their columns: numbers of ``dtype`` with NaN for missing, categories as texts
    in their one spelling with the empty one for missing, and for each wide column an int64 named by
    :func:`bucket_input`. Outputs are ``margin`` and ``probability``, (n, 1) of ``dtype``.

    Raises
    ------
    ConfigError
        Names that collide, more wide weights than a file can hold, or onnx is not installed.
    TreesError
        Trees that ONNX cannot say.
    """
    helper = onnx().helper
    names = input_names(model)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    texts, whole = helper.np_dtype_to_tensor_dtype(np.dtype(np.str_)), helper.np_dtype_to_tensor_dtype(np.dtype("i8"))
    kinds = [element if feature.vocabulary is None else texts for feature in model.trees.schema.features]
    kinds += [whole] * len(model.head.wide.names)
    graph = _Nodes(dtype)
    margin = _trees(graph, model.trees, model.head)
    for j, name in enumerate(model.head.wide.names):
        gathered = _wide(graph, model.head, j)
        margin = graph.add("Add", [margin, gathered], f"with {bucket_input(name)}")
    graph.add("Identity", [margin], MARGIN)
    graph.add("Sigmoid", [margin], PROBABILITY)
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "gbdtlr",
            [helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in zip(names, kinds, strict=True)],
            [helper.make_tensor_value_info(name, element, [None, 1]) for name in (MARGIN, PROBABILITY)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
        ir_version=IR,
        producer_name="gbdtlr",
    )
    helper.set_model_props(proto, dict(properties))
    if proto.ByteSize() > _MOST_BYTES:
        raise ConfigError("the wide columns have more weights than an ONNX file holds; add --without-wide")
    onnx().checker.check_model(proto)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def input_names(model: Model) -> list[str]:
    """Names of the inputs: features in the schema's order, then wide columns.

    Raises
    ------
    ConfigError
        Two of them, or of the graph's own, are the same.
    """
    features = [feature.name for feature in model.trees.schema.features]
    names = [*features, *map(bucket_input, model.head.wide.names)]
    taken = [name for name in names if names.count(name) > 1 or name in (MARGIN, PROBABILITY) or not name]
    if taken:
        raise ConfigError(f"a column named {taken[0]!r} cannot be an input of an ONNX model; rename it in the samples")
    return names


def feed(model: Model, rows: Rows, dtype: type[np.floating[Any]]) -> dict[str, NDArray[Any]]:
    """What the model's inputs take for these rows."""
    categories = iter(rows.texts)
    columns: list[NDArray[Any]] = []
    for i, feature in enumerate(model.trees.schema.features):
        if feature.vocabulary is None:
            with np.errstate(over="ignore"):
                columns.append(rows.matrix[:, i].astype(dtype))
        else:
            columns.append(np.array(next(categories), object))
    columns += list(rows.buckets.astype(np.int64))
    names = input_names(model)
    return {name: column.reshape(-1, 1) for name, column in zip(names, columns, strict=True)}


def run(data: bytes, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Margins that onnxruntime gives, float64 (n,)."""
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (margin,) = session.run([MARGIN], dict(inputs))
    return np.asarray(margin, np.float64).reshape(-1)


def onnx() -> Any:
    """The library; ``ConfigError`` says how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise ConfigError(f"ONNX needs the extra onnx ({error}): pip install 'gbdtlr[onnx]'") from None
    return onnx


def onnxruntime() -> Any:
    """The library; ``ConfigError`` says how to get it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(f"ONNX needs the extra onnx ({error}): pip install 'gbdtlr[onnx]'") from None
    return onnxruntime


def _trees(graph: _Nodes, trees: FrozenTrees, head: Head) -> str:
    """Name of bias and leaf weights, added up."""
    ensemble = Ensemble.of(trees.forest, trees.schema, head.leaf_weights, graph.dtype)
    columns = [_slot(graph, trees, feature, zero_is_missing) for feature, zero_is_missing in ensemble.slots]
    attributes = {name: tensor(name, values) for name, values in ensemble.tables.items() if len(values)}
    graph.add("Concat", columns, "features", axis=1)
    graph.ml(
        "TreeEnsemble",
        ["features"],
        "leaves",
        n_targets=1,
        aggregate_function=1,
        post_transform=0,
        nodes_modes=tensor("nodes_modes", ensemble.modes),
        **attributes,
        **ensemble.integers,
    )
    bias = graph.constant("bias", np.array([head.bias], graph.dtype))
    return graph.add("Add", ["leaves", bias], "with bias")


def _slot(graph: _Nodes, trees: FrozenTrees, feature: int, zero_is_missing: bool) -> str:
    """Name of a column of the ensemble's input."""
    spec = trees.schema.features[feature]
    if spec.vocabulary is not None:
        words = [word for word in spec.vocabulary if word]  # to the graph, the empty text is a missing one
        codes = [spec.codes[word] + 1 for word in words]
        return graph.ml(
            "LabelEncoder",
            [spec.name],
            f"code of {spec.name}",
            keys_tensor=tensor("keys", np.array([*words, ""], object)),
            values_tensor=tensor("values", np.array([*codes, np.nan], graph.dtype)),
            default_tensor=tensor("default", np.array([len(spec.vocabulary) + 1], graph.dtype)),
        )
    if not zero_is_missing:
        return spec.name
    zero = graph.constant(f"zero of {spec.name}", np.array(ZERO, graph.dtype))
    missing = graph.constant(f"missing of {spec.name}", np.array(np.nan, graph.dtype))
    size = graph.add("Abs", [spec.name], f"size of {spec.name}")
    is_zero = graph.add("LessOrEqual", [size, zero], f"{spec.name} is zero")
    return graph.add("Where", [is_zero, missing, spec.name], f"{spec.name} without zeros")


def _wide(graph: _Nodes, head: Head, j: int) -> str:
    """Name of the weights of a wide column's buckets, (n, 1)."""
    name, used, weights = bucket_input(head.wide.names[j]), head.layout.buckets[j], head.wide_weights[j]
    if head.wide.n_buckets <= DENSE:
        table = np.zeros(head.wide.n_buckets, graph.dtype)
        table[used] = weights
        places = name
    else:
        table = np.append(weights, 0.0).astype(graph.dtype)  # the last is of all buckets that are not in use
        places = graph.ml(
            "LabelEncoder",
            [name],
            f"place of {name}",
            keys_tensor=tensor("keys", np.append(used, -1).astype(np.int64)),
            values_tensor=tensor("values", np.arange(len(used) + 1)),
            default_tensor=tensor("default", np.array([len(used)])),
        )
    return graph.add("Gather", [graph.constant(f"weights of {name}", table), places], f"weight of {name}")

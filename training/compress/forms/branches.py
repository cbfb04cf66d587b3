"""Graphs inside a graph, as the branches of a `torch.cond` are: their nodes take names of the graph around them."""

from collections.abc import Iterator
from graphlib import TopologicalSorter

from onnx import GraphProto, NodeProto


def graphs_within(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph itself, then those of its branches and loops, however deep."""
    yield graph
    for node in graph.node:
        for inner in _graphs_of(node):
            yield from graphs_within(inner)


def has_branches(graph: GraphProto) -> bool:
    """Whether some node has a graph of its own."""
    return any(True for node in graph.node for _ in _graphs_of(node))


def names_taken(graph: GraphProto) -> set[str]:
    """All that its nodes, those of its branches, and their answers take."""
    return {
        name
        for each in graphs_within(graph)
        for name in (*(name for node in each.node for name in node.input), *(output.name for output in each.output))
    }


def sort_nodes(graph: GraphProto) -> None:
    """Put each node behind those whose outputs it, or a branch of it, takes. onnxruntime's sorts overlook those."""
    nodes = list(graph.node)
    makers = {name: number for number, node in enumerate(nodes) for name in node.output if name}
    needed = {
        number: sorted({makers[name] for name in _names_of(node) if name in makers})
        for number, node in enumerate(nodes)
    }  # fmt: skip
    order = list(TopologicalSorter(needed).static_order())
    del graph.node[:]
    graph.node.extend(nodes[number] for number in order)


def _names_of(node: NodeProto) -> set[str]:
    return set(node.input).union(*(names_taken(inner) for inner in _graphs_of(node)))


def _graphs_of(node: NodeProto) -> Iterator[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs

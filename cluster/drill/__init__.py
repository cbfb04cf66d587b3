"""The drill: a training on a cluster that loses its machines, compared with one that kept them."""

"""Streams: where lines to learn come from as they come - a pipe, or the topics of a Kafka cluster."""

from gbdtlr.streams.places import PLACES, Place, Places
from gbdtlr.streams.source import Piece, Pipe, Source

__all__ = ["PLACES", "Piece", "Pipe", "Place", "Places", "Source"]

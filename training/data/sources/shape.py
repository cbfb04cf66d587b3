"""Bring one source into the shape that the config declares: rename, hide, settle types, cast, convert."""

from training.data.sources.cast import cast_columns
from training.data.sources.convert import convert_columns
from training.data.sources.draft import Draft, How
from training.data.sources.settle import settle_columns
from training.data.sources.tidy import tidy_columns
from training.data.sources.words import refuse_repeated, require_columns


def shape_columns(draft: Draft, how: How) -> None:
    """Shape a source as read. What no longer fits is marked in the draft and left out at the end.

    Raises:
        DataError: the config names columns that are not there, or asks for what cannot be done.
    """
    _rename(draft, how)
    tidy_columns(draft, how)
    _hash_personal(draft, how)
    settle_columns(draft, how)
    cast_columns(draft, how)
    convert_columns(draft, how)
    draft.leave_out_bad()


def leave_out_personal(draft: Draft, how: How) -> None:
    """Take out the columns of `data.pii: drop` that the reader could not leave out itself, and spaces around names."""
    names = [name.strip() for name in draft.table.column_names]
    refuse_repeated(names, how.said, "give the columns distinct names", how.hides)
    draft.untyped = frozenset(name.strip() for name in draft.untyped)
    dropped = set(filter(how.is_dropped, names))
    draft.table = draft.table.rename_columns(names).drop_columns(list(dropped))
    draft.dropped = {name.strip() for name in draft.dropped} | dropped


def _rename(draft: Draft, how: How) -> None:
    have = [*draft.table.column_names, *draft.dropped]
    require_columns(how.key("rename"), how.shape.rename, have, how.said, how.hides)
    names = [how.final_name(name) for name in draft.table.column_names]
    refuse_repeated(names, f"{how.said}, after {how.key('rename')},", "give the columns distinct names")
    draft.untyped = frozenset(how.final_name(name) for name in draft.untyped)
    draft.table = draft.table.rename_columns(names)


def _hash_personal(draft: Draft, how: How) -> None:
    for name in draft.table.column_names:
        if how.is_personal(name):
            draft.replace(name, how.privacy.hashed(draft.table.column(name), name, how.said))

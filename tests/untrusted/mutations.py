"""Damage for fuzzing: what hypothesis draws, and what it does to bytes. Not a test itself."""

from __future__ import annotations

from hypothesis import strategies as st

# What parsers take special care of, or should.
TOKENS = [
    *(b'', b'\0', b'\xff\xfe', b'"', b'\\', b'[', b']', b'{', b'}', b'<', b'>', b'&', b'..', b'/'),
    *(b'NaN', b'-Infinity', b'1e999', b'null', b'../', b'\\u002e', b'1' * 30, b'-', b'0', b'.'),
    *(b'1' + b'0' * 400, b'1' + b'0' * 400 + b'.0', b'1' + b'0' * 220 + b'e99', b'\xef\xbb\xbf'),
    *(b'<!DOCTYPE a>', b'&a;', b'<![CDATA[', b'[' * 100, b'<a>' * 100, b'PK\x01\x02', b'ustar'),
    *(b'cos\nsystem\n', b'R', b'b', b'\x81', b'.', b'K\xff', b'\x8a\x08' + b'\x7f' * 8, b'(', b't'),
]
#: Where (as a share of the length), how many bytes go, and what comes.
Damage = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from([0, 1, 2, 8, 64, 10**9]),
        st.sampled_from(TOKENS) | st.binary(max_size=8),
    ),
    min_size=1,
    max_size=3,
)


def damaged(content: bytes, damage: list[tuple[float, int, bytes]]) -> bytes:
    """The content with parts replaced."""
    for place, gone, new in damage:
        start = int(place * len(content))
        content = content[:start] + new + content[start + gone :]
    return content

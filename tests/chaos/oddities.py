"""Header lines, lengths, chunks, targets and other words of HTTP that readers are known to disagree on. ``%d`` and ``%x`` are a length."""

from __future__ import annotations

TE_CHUNKED = (
    b"transfer-encoding:chunked", b"Transfer-Encoding: \t chunked \t", b"TRANSFER-ENCODING: CHUNKED",
    b"Transfer-Encoding: cHuNkEd",
)  # fmt: skip

TE_DECOYS = (
    b"Transfer_Encoding: chunked", b"X-Transfer-Encoding: chunked", b"TE: chunked", b"Content-Transfer-Encoding: chunked",
    b"Transfer-Encodin: chunked", b"Transfer.Encoding: chunked", b"Transfer-Encoding-: chunked", b"Trailer: chunked",
    b"Content-Encoding: chunked", b"Transfer--Encoding: chunked", b"X: Transfer-Encoding: chunked",
)  # fmt: skip

TE_BROKEN = (
    b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked", b" Transfer-Encoding: chunked",
    b"\tTransfer-Encoding: chunked", b"Transfer-Encoding\x00: chunked", b"Transfer\x00-Encoding: chunked",
    b"Transfer-Encoding:\n chunked", b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding\r\n : chunked",
    b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked", b"X: y\r\n\tTransfer-Encoding: chunked",
    b"\xffTransfer-Encoding: chunked", b"Transfer-Encoding\xa0: chunked", b"Transfer-Encoding\x0b: chunked",
    b"Transfer-Encoding;: chunked", b"(Transfer-Encoding): chunked", b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding: \x00chunked", b"Transfer-Encoding chunked", b"Transfer Encoding: chunked",
    b"Transfer-Encoding: chunked\rX: y", b"Transfer-Encoding: chunked\nX: y", b"Transfer-Encoding: chunked\r\n X",
    b":Transfer-Encoding: chunked", b"[Transfer-Encoding]: chunked", b"Transfer/Encoding: chunked",
)  # fmt: skip

TE_ODD = (
    b"xchunked", b"chunkedx", b"chunked, identity", b"identity, chunked", b"identity", b"chunked;q=1", b"chunked;",
    b"\x0bchunked", b"chunked\x0b", b"\x0cchunked", b'"chunked"', b"'chunked'", b"chunked,", b",chunked", b", ,chunked",
    b"gzip, chunked", b"chunked, gzip", b"chunked, chunked", b"chunk", b"", b" ", b"\xa0chunked", b"chunked\x85",
    b"chun ked", b"chunked chunked", b"[chunked]", b"deflate", b"trailers, chunked", b"chunked/1.0", b"none", b"null",
    b"ch\x75nked, x", b"\xef\xbb\xbfchunked", b"compress, chunked", b"chunked\t,\tchunked",
)  # fmt: skip

LENGTHS = (
    b"+%d", b"-%d", b"0x%x", b"%d %d", b"%d.0", b"%de0", b"\x0b%d", b"%d\x0b", b"%d;", b"%d\x00", b"%d, x", b"%d,", b",%d",
    b'"%d"', b"%d\xa0", b"1_%d", b"", b" ", b"x", b"%dx", b"\xb9%d", b"%d-", b"--%d", b"%d/1", b"(%d)", b"%d\x0c",
    b"99999999999999999999", b"18446744073709551616", b"9223372036854775808", b"1e2", b"%d\t%d", b"0b11", b"0o7", b"%d:",
)  # fmt: skip

LENGTH_BROKEN = (
    b"Content-Length : %d", b"Content-Length\t: %d", b" Content-Length: %d", b"Content-Length:\r\n %d",
    b"X: y\nContent-Length: %d", b"X: y\rContent-Length: %d", b"Content-Length\x00: %d", b"\x00Content-Length: %d",
    b"Content-Length: %d\rX: y", b"Content-Length: %d\nX: y", b"Content Length: %d", b"Content-Length %d",
    b"Content-Length\xa0: %d", b"Content-Length: %d\r\n 0", b"\xc3\xa9: y\r\nContent-Length : %d",
)  # fmt: skip

SIZES = (
    b"0x%x", b"+%x", b"-%x", b" %x", b"\t%x", b"%x_0", b"%xg", b"", b"%x\x00", b"1000000000000000%x", b"f" * 17 + b"%x",
    b"%x.0", b"\xef\xbc\x95", b"0X%x", b"%xh", b"'%x'", b"%x,", b"%x:", b"--%x", b"%x\x0b", b"%x\xa0",
    b"g", b"\\x%x", b"%x\r", b"\r%x", b"\x0b%x",
)  # fmt: skip

EXTENSIONS = (
    b";a", b";a=b", b';a="b"', b";a;b;c=d", b";" + b"a" * 200, b"; a = b", b';a="b;c"', b";a=\xff", b";=", b";;",
    b' ;a="b"', b";a=1\t",
)  # fmt: skip

EXTENSIONS_BROKEN = (
    b";a\nb", b";a\rb", b';a="\nb"', b";\n", b";a\x00", b';a="\r\n"', b"\n", b";a\n0\r\n\r\n",
)  # fmt: skip

TRAILERS = (
    b"X: y", b"Content-Length: 900", b"Transfer-Encoding: chunked", b"Host: elsewhere", b"Connection: upgrade",
    b"Authorization: Bearer other", b"X-Forwarded-For: 127.0.0.1", b"Expect: 100-continue", b"X: " + b"y" * 4000,
)  # fmt: skip

TRAILERS_BROKEN = (
    b"X : y", b"nocolon", b"X: y\nZ: a", b"X\x00: y", b": y", b"X: y\rZ: a", b"GET / HTTP/1.1", b"X: y\r\n folded",
    b"\x00", b"X: \x00", b" X: y",
)  # fmt: skip

LINES_BROKEN = (
    b"nocolon", b": noname", b"X\x00: y", b"X: a\x00b", b"X: a\rb", b"X : y", b"X\t: y", b"X: y\r\n folded", b"X\x7f: y",
    b"X\x01: y", b"X\xff: y", b"X(: y", b'X": y', b"X{}: y", b"\x80: y", b"X=: y", b"X@: y", b"\\X: y", b"X: \x01",
    b"X: \x7f", b"X: y\r", b"\rX: y", b"X\r: y", b"\x00", b"=", b"GET / HTTP/1.1",
)  # fmt: skip

TARGETS = (
    b"http://elsewhere/v1/chat/completions", b"https://elsewhere:1/v1/chat/completions", b"http://u:p@h/v1/models", b"*", b"/",
    b"elsewhere:443", b"//elsewhere/v1/models", b"/v1/../v1/models", b"/v1/models/%2e%2e%2f", b"/v1/models?%00", b"/%0d%0aX:y",
    b"/v1/chat/completions%20HTTP/1.1%0d%0aX:%20y", b"/v1/models#x", b"http://", b"http:///v1/models", b"HTTP://h/v1/models",
    b"/v1/models\\..", b"/v1/chat/completions;a=b", b"?", b"/v1/usage?key=a&key=b", b"http://h", b"http://h?x", b"ws://h/",
    b"/v1/chat/completions?" + b"a" * 5000, b"file:///etc/passwd", b"/v1/%63hat/completions", b"x", b"http:/v1/models",
    b"/\xff", b"/v1/models/\x7f", b"http://[::1]/v1/models", b"http://h/v1/models http://i/",
)  # fmt: skip

HOSTS = (
    b"Host: a\r\nHost: b", b"Host: gateway\r\nHost: gateway", b"Host: a, b", b"Host: a/b", b"Host: a?b", b"Host: a#b", b"Host: ",
    b"Host: u@h", b"Host: h:80:80", b"Host: h:x", b"Host: \xff", b"Host: a b", b"Host : gateway", b"Host:\r\n gateway",
    b"X-Forwarded-Host: elsewhere", b"Host: gateway\r\nX-Host: elsewhere", b"Host: [::1", b"Host: a\x00b", b"Host: http://h/",
    b"Host: gateway\r\nX-Original-URL: /v1/usage", b"Host: gateway\r\nX-Rewrite-URL: /healthz", b"Host: ..", b"Host: gateway.",
)  # fmt: skip

METHODS = (
    b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"PATCH", b"PRI", b"post", b"X" * 40, b"M-SEARCH",
    b"POST\x00", b"PO ST", b"P\xd6ST", b"(POST)", b"", b"GET\t", b"\r\nPOST", b"\r\n\r\nPOST", b"\nPOST", b"LOCK", b"QUERY",
)  # fmt: skip

VERSIONS = (
    b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/2", b"HTTP/3.0", b"HTTP/1.10", b"HTTP/01.1", b"http/1.1", b"HTTP/1.1x",
    b"HTTP/1,1", b"HTTP/1.", b"HTTP/.1", b"HTTP/11", b"HTTP/-1.1", b"HTTP /1.1", b"HTTP/1.1 x", b"HTTQ/1.1", b"ICY/1.1", b"",
    b"HTTP/9.9", b"HTTP/1.1\t", b"HTTP/1.\xb9", b"\tHTTP/1.1", b"HTTP/1.1\x00", b"RTSP/1.0",
)  # fmt: skip

UPGRADES = (
    (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
    (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 777"),
    (b"Connection: upgrade", b"Upgrade: TLS/1.2, HTTP/1.1"), (b"Connection: Upgrade", b"Upgrade: h2c"), (b"Upgrade: h2c",),
    (b"Connection: upgrade",), (b"Connection: Upgrade", b"Upgrade: \xff"), (b"Connection: Upgrade", b"Upgrade: a, b, c"),
    (b"Connection: Upgrade, close", b"Upgrade: websocket"), (b"Connection: Upgrade", b"Upgrade: tcp"),
)  # fmt: skip

EXPECTS = (
    b"100-continue", b"100-Continue", b"100-continue, 100-continue", b"a miracle", b"", b"100-continue;q=1", b"200-ok", b"\xff",
    b"100-continue\r\nExpect: 100-continue", b" 100-continue ", b"100-continue\t",
)  # fmt: skip

CONNECTIONS = (
    b"close", b"keep-alive", b"Keep-Alive, close", b"content-length", b"keep-alive, content-length", b"transfer-encoding",
    b"host", b"authorization", b"x-forwarded-for", b"close, X-Forwarded-For", b"", b",", b"te", b"te, trailers", b"\xff", b"upgrade",
    b"keep-alive\r\nConnection: close", b"close\r\nConnection: x-forwarded-for", b"proxy-connection", b"close, close", b"cl ose",
)  # fmt: skip

SPOOFS = (
    b"X-Forwarded-For: 127.0.0.1", b"X-Forwarded-For: 127.0.0.1, 127.0.0.1", b"X_Forwarded_For: 127.0.0.1", b"Forwarded: for=127.0.0.1",
    b"X-Real-IP: 127.0.0.1", b"Connection: x-forwarded-for", b"Connection: close, X-Forwarded-For", b"X-Forwarded-For: 127.0.0.1,",
    b"X-Forwarded-For : 127.0.0.1", b"X-Forwarded-For: ", b"X-Forwarded-For: 127.0.0.1\r\n X", b"X-Forwarded-For: ::1", b"X-Forwarded-For: ,",
    b"X-Forwarded-For\x00: 127.0.0.1", b"X-Forwarded-For: unknown", b"True-Client-IP: 127.0.0.1", b"X-Forwarded-For: a\x00",
    b"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1", b"x-forwarded-for: 127.0.0.1:80", b"X-Forwarded-For: \xff",
)  # fmt: skip

UNDERSCORED = (
    b"Content_Length: %d", b"CONTENT-LENGTH_: %d", b"Transfer_Encoding: chunked", b"Authorization_: Bearer x", b"X_Api_Key: sk-x",
    b"Host_: elsewhere", b"Connection_: close", b"_: _", b"Content__Length: 0", b"X_Forwarded_For: 127.0.0.1",
)  # fmt: skip

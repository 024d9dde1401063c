"""Google's and Azure's object stores, as much of their protocols as obstore's clients speak; nothing on disk.

Written from the two services' REST references (the XML API of Cloud Storage, the Blob service). They show that the
requests we cause are those that make put-if-absent, lists, parts and errors work; not that the services are up.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

PAGE = 500


class FakeCloud:
    """What both have in common: objects by key in one bucket, parts of uploads, and answers with their headers."""

    def __init__(self):
        self.objects = {}
        self.parts = {}

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"].encode("latin-1").decode()
        bucket, _, key = path.lstrip("/").partition("/")
        query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"], True).items()}
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if bucket == "bucket":
            status, headers, answer = self.answer(environ["REQUEST_METHOD"], key, query, environ, body)
        else:
            status, headers, answer = "404 Not Found", {}, self.error(self.no_bucket)
        fixed = {"Content-Length": str(len(answer)), "Date": format_datetime(datetime.now(UTC), usegmt=True)}
        start_response(status, list({**fixed, **headers}.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer]

    def answer(self, method, key, query, environ, body):
        if not key and method == "GET":
            return "200 OK", {"Content-Type": "application/xml"}, self.listing(query)
        if method == "PUT":
            if self.must_be_absent(environ) and key in self.objects:
                return self.refusal, {}, self.error("AlreadyExists")
            return "201 Created", self.store(key, body), b""
        if method == "DELETE":
            return ("202 Accepted", {}, b"") if self.objects.pop(key, None) else self.absent()
        if key not in self.objects:
            return self.absent()
        data, moment = self.objects[key]
        headers = self.headers(data, moment)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", environ.get("HTTP_RANGE") or environ.get("HTTP_X_MS_RANGE") or "")
        if wanted:
            start, end = int(wanted[1]), min(int(wanted[2]) + 1, len(data))
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            return "206 Partial Content", {**headers, "Content-Length": str(end - start)}, data[start:end]
        return "200 OK", headers, data

    def store(self, key, data):
        self.objects[key] = data, datetime.now(UTC)
        return self.headers(b"", self.objects[key][1])

    def absent(self):
        return "404 Not Found", {}, self.error(self.no_key)

    @staticmethod
    def headers(data, moment):
        return {
            "Content-Length": str(len(data)),
            "Last-Modified": format_datetime(moment, usegmt=True),
            "ETag": f'"{moment.timestamp()}"',
        }

    @staticmethod
    def error(code):
        return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()

    def page(self, query, token):
        """Keys of one page of a list, and where the next one starts."""
        keys = sorted(key for key in self.objects if key.startswith(query.get("prefix", "")))
        start = int(query.get(token) or 0)
        return keys[start : start + PAGE], str(start + PAGE) if len(keys) > start + PAGE else ""


class FakeGoogle(FakeCloud):
    no_bucket, no_key, refusal = "NoSuchBucket", "NoSuchKey", "412 Precondition Failed"

    def must_be_absent(self, environ):
        return environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH") == "0"

    @staticmethod
    def headers(data, moment):
        return {**FakeCloud.headers(data, moment), "x-goog-generation": str(int(moment.timestamp() * 1e6))}

    def answer(self, method, key, query, environ, body):
        upload = query.get("uploadId")
        if "uploads" in query:
            self.parts[key] = {}
            root = "InitiateMultipartUploadResult"
            return "200 OK", {}, f"<{root}><UploadId>{escape(key)}</UploadId></{root}>".encode()
        if upload and method == "PUT":
            self.parts[upload][int(query["partNumber"])] = body
            return "200 OK", {"ETag": '"part"'}, b""
        if upload and method == "POST":
            parts = self.parts.pop(upload)
            self.store(key, b"".join(parts[number] for number in sorted(parts)))
            root = "CompleteMultipartUploadResult"
            return "200 OK", {}, f'<{root}><ETag>"whole"</ETag></{root}>'.encode()
        return super().answer(method, key, query, environ, body)

    def listing(self, query):
        keys, after = self.page(query, "continuation-token")
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>x</ETag>"
            f"<LastModified>{moment.isoformat().replace('+00:00', 'Z')}</LastModified></Contents>"
            for key in keys
            for data, moment in [self.objects[key]]
        )
        token = f"<NextContinuationToken>{after}</NextContinuationToken>" if after else ""
        return f"<ListBucketResult>{items}{token}</ListBucketResult>".encode()


class FakeAzure(FakeCloud):
    no_bucket, no_key, refusal = "ContainerNotFound", "BlobNotFound", "409 Conflict"

    def must_be_absent(self, environ):
        return environ.get("HTTP_IF_NONE_MATCH") == "*"

    @staticmethod
    def headers(data, moment):
        return {**FakeCloud.headers(data, moment), "x-ms-version": "2023-11-03", "x-ms-blob-type": "BlockBlob"}

    def answer(self, method, key, query, environ, body):
        what = query.get("comp")
        if what == "batch":
            boundary = environ["CONTENT_TYPE"].partition("boundary=")[2].strip('"')
            answers = []
            for i, request in enumerate(re.findall(rb"DELETE ([^ ]+) HTTP", body)):
                path = unquote(request.decode()).partition("?")[0].partition("/bucket/")[2]
                status = "202 Accepted" if self.objects.pop(path, None) else "404 The specified blob does not exist."
                code = "" if status[0] == "2" else "x-ms-error-code: BlobNotFound\r\n"
                answers.append(
                    f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: {i}\r\n\r\n"
                    f"HTTP/1.1 {status}\r\n{code}x-ms-request-id: 1\r\nx-ms-version: 2023-11-03\r\n\r\n\r\n"
                )
            return (
                "202 Accepted",
                {"Content-Type": f"multipart/mixed; boundary={boundary}"},
                ("".join(answers) + f"--{boundary}--\r\n").encode(),
            )
        if what == "block":
            self.parts.setdefault(key, {})[query["blockid"]] = body
            return "201 Created", {}, b""
        if what == "blocklist":
            blocks = [unquote(name.decode()) for name in re.findall(rb"<Uncommitted>([^<]*)</Uncommitted>", body)]
            assert all(base64.b64decode(name) for name in blocks)
            parts = self.parts.pop(key)
            return "201 Created", self.store(key, b"".join(parts[name] for name in blocks)), b""
        return super().answer(method, key, query, environ, body)

    def listing(self, query):
        keys, after = self.page(query, "marker")
        items = "".join(
            f"<Blob><Name>{escape(key)}</Name><Properties><Content-Length>{len(data)}</Content-Length>"
            f"<Last-Modified>{format_datetime(moment, usegmt=True)}</Last-Modified><Etag>x</Etag>"
            "<Content-Type>x</Content-Type><ResourceType>file</ResourceType></Properties></Blob>"
            for key in keys
            for data, moment in [self.objects[key]]
        )
        body = f"<EnumerationResults><Blobs>{items}</Blobs><NextMarker>{after}</NextMarker></EnumerationResults>"
        return body.encode()

"""Writes an OCI archive with one image of one layer, made of a folder: image.py NAME FOLDER ARCHIVE [--entrypoint JSON] [--user USER]."""

import argparse
import hashlib
import io
import json
import os
import platform
import tarfile
import tempfile

MEDIA = "application/vnd.oci.image."
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def owned_by_root(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def main():
    parser = argparse.ArgumentParser()
    for argument in ("name", "folder", "archive"):
        parser.add_argument(argument)
    parser.add_argument("--entrypoint", type=json.loads, default=[])
    parser.add_argument("--user", default="")
    options = parser.parse_args()

    with tempfile.TemporaryFile() as layer:
        with tarfile.open(fileobj=layer, mode="w") as tar:
            tar.add(options.folder, arcname=".", filter=owned_by_root)
        size = layer.tell()
        layer.seek(0)
        # Not compressed: it is read from this machine's disk.
        layer_digest = "sha256:" + hashlib.file_digest(layer, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else digest(layer.read())
        layer.seek(0)

        config = json.dumps(
            {
                "architecture": ARCHITECTURES[platform.machine()],
                "os": "linux",
                "config": {
                    "Entrypoint": options.entrypoint,
                    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                    "User": options.user,
                },
                "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
            }
        ).encode()
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MEDIA + "manifest.v1+json",
                "config": {"mediaType": MEDIA + "config.v1+json", "digest": digest(config), "size": len(config)},
                "layers": [{"mediaType": MEDIA + "layer.v1.tar", "digest": layer_digest, "size": size}],
            }
        ).encode()
        index = json.dumps(
            {
                "schemaVersion": 2,
                "manifests": [
                    {
                        "mediaType": MEDIA + "manifest.v1+json",
                        "digest": digest(manifest),
                        "size": len(manifest),
                        "annotations": {"io.containerd.image.name": options.name},
                    }
                ],
            }
        ).encode()

        # The archive gets its name when it is complete, so a killed run leaves none that is not.
        partial = f"{options.archive}.{os.getpid()}"
        with tarfile.open(partial, "w") as tar:

            def add(path, size, stream):
                entry = tarfile.TarInfo(path)
                entry.size = size
                tar.addfile(entry, stream)

            for path, data in (
                ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
                ("index.json", index),
                ("blobs/sha256/" + hashlib.sha256(config).hexdigest(), config),
                ("blobs/sha256/" + hashlib.sha256(manifest).hexdigest(), manifest),
            ):
                add(path, len(data), io.BytesIO(data))
            add("blobs/" + layer_digest.replace(":", "/"), size, layer)
        os.replace(partial, options.archive)


main()

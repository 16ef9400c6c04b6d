"""Strict validation of manifests: built-in kinds by Kubernetes' schemas, others by their own definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import yaml

from tests.deploy.chart import KUBERNETES, Manifest

_OPEN: Final = "x-kubernetes-preserve-unknown-fields"


class Definitions:
    """The CustomResourceDefinitions in a directory."""

    def __init__(self, directory: Path) -> None:
        self._validators: dict[tuple[str, str], jsonschema.Draft4Validator] = {}
        for file in sorted(directory.glob("*.yaml")):
            for definition in yaml.load_all(file.read_text(), yaml.CSafeLoader):
                self._read(definition["spec"])

    def _read(self, spec: dict[str, Any]) -> None:
        for version in spec["versions"]:
            if version["served"]:
                schema = _strict(version["schema"]["openAPIV3Schema"])
                # Kubernetes looks at it itself.
                schema["properties"]["metadata"] = {"type": "object"}
                kind = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                self._validators[kind] = jsonschema.Draft4Validator(schema)

    def problems(self, manifest: Manifest) -> list[str]:
        """Return what is wrong with an object: nothing, where a cluster would take it and know each of its fields."""
        validator = self._validators.get((manifest["apiVersion"], manifest["kind"]))
        if validator is not None:
            return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]
        try:
            kubernetes_validate.validate(manifest, KUBERNETES.rpartition(".")[0], strict=True)
        except kubernetes_validate.ValidationError as error:
            return [f"{list(error.path)}: {error.message}"]
        except kubernetes_validate.SchemaNotFoundError:
            return [f"{manifest['apiVersion']} has no {manifest['kind']}"]
        return []


def _strict(schema: Any) -> Any:
    """Return a definition's schema that refuses fields it does not know, as a cluster does with strict validation."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    strict = {name: _strict(part) for name, part in schema.items() if name not in ("properties", "default")}
    if "properties" in schema:
        strict["properties"] = {name: _strict(part) for name, part in schema["properties"].items()}
        # Without a type it only adds conditions to the schema that it is in.
        if "type" in schema and not schema.get(_OPEN):
            strict.setdefault("additionalProperties", False)
    return strict

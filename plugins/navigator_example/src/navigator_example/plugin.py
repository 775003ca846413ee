"""What the plugin brings, as data. The entry point names this module: loading it imports neither onnx nor numpy."""

from __future__ import annotations

from attrs import field, frozen, validators

from navigator_core import Converter, Format, Ref, Requirement, Runner, hookimpl


@frozen
class ConvertOptions:
    """What a user may choose: ``options={"example": {"compress": True}}``. A wrong value is refused here."""

    compress: bool = field(default=False, validator=validators.instance_of(bool))


@hookimpl
def declare_formats() -> list[Format]:
    return [Format(name="example", file="model.npz")]


@hookimpl
def declare_converters() -> list[Converter]:
    return [
        Converter(
            source="onnx",
            target="example",
            implementation=Ref("navigator_example.convert:convert"),
            options=ConvertOptions,
            # missing, the conversion is listed as unavailable, with this reason and remedy; the runner still works
            requirements=(Requirement("navigator-onnx"), Requirement("onnx>=1.16")),
        )
    ]


@hookimpl
def declare_runners() -> list[Runner]:
    return [Runner(name="example-numpy", formats=("example",), implementation=Ref("navigator_example.run:load"))]

"""The official SDKs' models as strict judges of what a server sends.

The SDKs build their objects without validation, so that a wrong server does not break a client; here every object is
validated as the model says: required fields, exact types, known values of enumerations. It must not know the gateway's
formats beyond its documented extras."""

import functools
import json

import pydantic

# Fields beyond the vendor's models that the gateway documents: reasoning in chat, what proves it, sources, pictures.
CHAT_EXTRAS = {
    "reasoning_content",
    "reasoning",
    "reasoning_details",
    "thinking_blocks",
    "provider_specific_fields",
    "extra_content",
    "images",
    "annotations",
}
# What OpenAI itself and Open Responses send, and the SDK does not know.
RESPONSE_EXTRAS = {"frequency_penalty", "presence_penalty", "store", "status", "name", "bytes", "obfuscation"}


@functools.cache
def _adapter(kind):
    return pydantic.TypeAdapter(kind)


def judge(kind, value, extras=frozenset()):
    """`value` as the server sent it has to be a `kind`; fields that `kind` does not know have to be in `extras`. Returns the
    object."""
    text = json.dumps(value)
    try:
        found = _adapter(kind).validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        # Of a union's members, those of another `type` have nothing to say.
        others = {line["loc"][:-1] for line in error.errors() if line["loc"][-1:] == ("type",)}
        told = [line for line in error.errors() if not any(line["loc"][: len(other)] == other for other in others)]
        lines = [f"{'.'.join(map(str, line['loc']))}: {line['msg']}" for line in told or error.errors()]
        raise AssertionError(f"not a {getattr(kind, '__name__', kind)}: {'; '.join(lines[:6])}\n{text[:1500]}") from None
    foreign = sorted(set(_foreign(found)) - set(extras))
    assert not foreign, f"fields that {getattr(kind, '__name__', kind)} does not know: {foreign}\n{text[:1500]}"
    return found


def _foreign(value):
    """The names of fields that no model knows."""
    if isinstance(value, pydantic.BaseModel):
        yield from (value.model_extra or {})
        for name in type(value).model_fields:
            yield from _foreign(getattr(value, name))
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _foreign(entry)


def sent(model):
    """What the server sent, of an object that an SDK built."""
    return model.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)

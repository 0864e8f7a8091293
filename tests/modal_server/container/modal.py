"""What a container has of modal: the decorators leave functions and classes as they are."""

from __future__ import annotations


class Anything:
    """Takes every call: images, volumes, secrets and schedules mean nothing inside."""

    def __init__(self, *_, **__):
        pass

    def __getattr__(self, name):
        return lambda *_, **__: self


class App:
    def __init__(self, *_, **__):
        pass

    def function(self, *_, **__):
        return lambda function: function

    server = local_entrypoint = function


def enter(**_):
    def mark(method):
        method.enters = True
        return method

    return mark


def exit(**_):  # noqa: A001 - modal's name
    def mark(method):
        method.exits = True
        return method

    return mark


class Image(Anything):
    debian_slim = from_registry = classmethod(lambda cls, *_, **__: cls())


class Named(Anything):
    from_name = classmethod(lambda cls, *_, **__: cls())


Volume = Secret = Named
Cron = Period = Anything

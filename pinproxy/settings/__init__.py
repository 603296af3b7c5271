"""The configuration: YAML, environment and flags in, frozen values out, or every problem at once with its place.

Import the modules, not this package: pydantic and ruamel.yaml cost time at start and are loaded only by who needs them.
"""

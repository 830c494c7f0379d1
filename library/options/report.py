"""The effective configuration: what a run will use, and where each value came from."""

from library.options.config_file import to_toml
from library.options.declaration import HIDDEN
from library.options.resolution import DEFAULT, ResolvedOptions
from library.options.schema import all_options, option_groups


def effective_configuration(resolved: ResolvedOptions, include_defaults: bool = False) -> str:
    """One line per option, by topic: name, value, origin. Secrets are hidden."""
    values = resolved.values()
    lines = ["Effective configuration (option = value, from where):"]
    for model in option_groups().values():
        rows = []
        for name in model.model_fields:
            spec, origin = all_options()[name], resolved.origins[name]
            if origin == DEFAULT and not include_defaults:
                continue
            value = HIDDEN if spec.traits.secret and values[name] else values[name]
            rows.append(f"    {name} = {value}  ({origin})")
        lines += [f"  {model.title}", *rows] if rows else []
    if not include_defaults:
        lines.append(
            f"  All others ({list(resolved.origins.values()).count(DEFAULT)}) have their defaults; see docs/options.md."
        )
    return "\n".join(lines)


def configuration_without_secrets(resolved: ResolvedOptions) -> str:
    """TOML text of every option that differs from its default, except secrets and the file itself."""
    left_out = {"config_file", "output_config"}
    values = {
        name: value
        for name, value in resolved.changed().items()
        if name not in left_out and not all_options()[name].traits.secret
    }
    return to_toml(values)

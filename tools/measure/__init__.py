"""Scripts that measure the project beside its peers; ``docs/decisions.md`` has what they found."""

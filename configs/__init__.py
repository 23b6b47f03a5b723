"""The typed configuration: its schema, its presets and the strict reader."""

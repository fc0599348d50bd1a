"""A resource handler whose instances are files in a folder; see docs/how-to/write-a-resource-handler.md."""

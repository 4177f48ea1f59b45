"""Media that records name → media_asset and media_link."""

"""What at least three services need. Nothing here knows a service's nouns."""

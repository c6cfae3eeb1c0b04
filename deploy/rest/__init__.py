"""What the REST form of our services is made of: a descriptor set for Envoy's transcoder, and its OpenAPI document."""

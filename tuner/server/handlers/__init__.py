"""What each method of the API does, the same for gRPC and REST."""

// The filter that names the model of a call, before its route is chosen, by what the message itself says.

#pragma once

#include "abi.h"

// Whether the call may go on: it has no routing key, or a fit one. A key that is not fit is taken away, so that it never
// reaches the record; so is an empty one, or everyone with it would share a bucket.
bool check_key(void *envoy);

bool is_inference(view path, view type);
// For every other call: the default scope, in which the doors to the services are.
void inference_is_none(void *envoy);

// Holds the headers until the body is here, which may be as large as messages are.
int inference_awaited(void *envoy);

// `grpc`: what its content type says. `mesh`: this is no listener for clients, there is no slow door behind it.
int inference_on_headers(void *envoy, bool grpc, bool mesh, bool end);
int inference_on_body(void *envoy, bool mesh, bool end);
int inference_on_trailers(void *envoy, bool mesh);

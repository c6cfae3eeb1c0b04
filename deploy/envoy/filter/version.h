// The filter that writes the version of an attempt into the message, on its way to a Triton.

#pragma once

#include "abi.h"

// `chained` gets whether the call is one of ours, an inference on its way along a chain. The rest is for those alone.
int version_on_headers(void *envoy, bool *chained, bool end);
int version_on_body(void *envoy, bool end);
int version_on_trailers(void *envoy);
// Says in the answer which version it is from, where that is not the first of the chain.
void version_on_answer(void *envoy);

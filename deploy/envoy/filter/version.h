// The filter that writes the version of an attempt into the message, on its way to a Triton.

#pragma once

#include "abi.h"

int version_on_headers(void *envoy, bool end);
int version_on_body(void *envoy, bool end);
int version_on_trailers(void *envoy);
// Says in the answer which version it is from, where that is not the first of the chain.
int version_on_answer(void *envoy);

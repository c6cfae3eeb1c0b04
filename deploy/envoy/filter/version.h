// The version of an attempt, written into the message, and what is told of it with the answer.

#pragma once

#include "way.h"

// Before the router: writes what the first attempt asks for into the message, of which `last` is as for open_body, and the
// chain into a header, for attempts that follow. Whether the call may go on; if not, it has been answered.
bool version_on_call(void *envoy, const way *by, int last);
// Says in the answer which version it is from, and of which experiment.
void version_on_answer(void *envoy, const way *by);

// On the way to a server. `again` gets whether it is not the first attempt, which has its version: the rest is for later ones.
int attempt_on_headers(void *envoy, bool *again, bool end);
int attempt_on_body(void *envoy, bool end);
int attempt_on_trailers(void *envoy);
// Says in the answer which version it is from, where that is not the first of the chain.
void attempt_on_answer(void *envoy);

// The edge: what a caller may say of itself, and what only Penstock may.

#pragma once

#include "abi.h"

// Takes away every header that only the edge or Envoy may set, gives the request its id and its identity, and keeps the
// caller's own id as a tag. Whether the call may go on: if not, it has been answered.
bool edge_on_headers(void *envoy, bool *tagged);

// On the second hop, where identity and id are trusted: only what chooses the way of a call is taken away.
void edge_on_second_hop(void *envoy);

// Tells the caller the id that the records know the request by. One who gave a tag has it on each answer; who did not
// finds it where he will look for it, on the answers that are errors.
void edge_on_answer(void *envoy, bool tagged);

// The edge: who calls and how often, what a caller may say of itself, and what only Penstock may.

#pragma once

#include "access.h"
#include "buckets.h"

// The configuration of the filter at the ingress, and Envoy's numbers for what it counts.
typedef struct {
  access *known;
  size_t refusals, limited;
} gate;

// What the edge keeps of a call.
typedef struct {
  bool infers, grpc;     // whether it is an inference that we read, whether its content type is gRPC's
  bool seen;             // whether the edge has seen the call: what Envoy refuses by itself, it has not
  view origin;           // of the page that calls, where it may; else NULL
  bool tagged;           // whether the caller gave it an id of its own
  const limit *nearest;  // of the limits that it met, the one of which least is left; NULL where it met none
  withdrawal left;       // of that one
} visit;

// Takes away every header that only the edge or Envoy may set, gives the request its id, keeps the caller's own id as a
// tag, says who calls, and takes the call's tokens. Whether the call may go on: if not, it has been answered.
bool edge_on_headers(void *envoy, const gate *of, visit *made);

// On the second hop, where identity and id are trusted: only what chooses the way of a call is taken away.
bool edge_on_second_hop(void *envoy, visit *made);

// Tells the caller the id that the records know the request by, and what is left of its limit. One who gave a tag has the
// id on each answer; who did not finds it where he will look for it, on the answers that are errors. The limit is told as
// soon as less than half of it is left. Of a call that the edge has not seen, the caller's words are taken out of the record.
void edge_on_answer(void *envoy, const visit *made, bool always);

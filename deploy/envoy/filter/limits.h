// The filter `bulkhead`: a call goes on once its model has room for it, waits for that, or is refused at once.

#pragma once

#include "abi.h"
#include "bulkhead.h"

// What it keeps of a call.
typedef struct {
  place own;
  void *scheduler;  // by which Envoy is told, from any thread, that it is the call's turn
  bool stopped;     // until then
} turn;

// `refusals` is Envoy's number for what counts the calls that are refused, by model and class.
int limits_on_headers(void *envoy, size_t refusals, bool copies, turn *call);
int limits_on_body(const turn *call);
int limits_on_trailers(const turn *call);
void limits_on_scheduled(void *envoy, turn *call);
void limits_on_end(turn *call);

// A call goes on once its model has room for it, waits for that, or is refused at once.

#pragma once

#include "abi.h"
#include "bulkhead.h"

// What is kept of a call.
typedef struct {
  place own;
  void *scheduler;  // by which Envoy is told, from any thread, that it is the call's turn
} turn;

// Once all of the call is here, `bytes` of body, and its route is chosen. INSIDE where it may go on; WAITING, and Envoy is to
// stop until limits_on_turn; OUTSIDE where it has been refused. `refusals` is Envoy's number for what counts those, by model
// and class.
standing limits_on_call(void *envoy, const room *into, size_t refusals, bool copies, size_t bytes, turn *call);
void limits_on_turn(void *envoy);
void limits_on_end(turn *call);

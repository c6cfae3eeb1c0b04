// Token buckets, of which there may be as many as there are callers and units, in a room that does not grow.

#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct {
  bool taken;
  uint64_t left;  // whole tokens, after what was taken
  uint64_t wait;  // ns: where taken, until the bucket is full again; where not, until there is a token
} withdrawal;

// Takes a token from the bucket called `id`, which gets one each `interval` ns and holds `burst`, both at least 1 and
// together under 2^62 ns. `now` is a time in ns that never goes back. A bucket that nobody has taken from is full.
withdrawal take_token(uint64_t id, uint64_t now, uint64_t interval, uint64_t burst);

// Puts one back that was taken a moment ago.
void return_token(uint64_t id, uint64_t interval);

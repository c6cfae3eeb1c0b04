// How many calls of a model are on their way at once, and who waits for a turn. Knows nothing of Envoy.

#pragma once

#include "abi.h"

// Calls of one class never take the room of another.
typedef enum { ORDINARY, URGENT, COPY, CLASSES } class;

typedef struct bulkhead bulkhead;

// What a route says: `most` calls of a class at once, and `most_waiting` behind them, each of `most_bytes` or less unless
// that is 0. Copies never wait.
typedef struct {
  bulkhead *of;
  unsigned most, most_waiting, most_bytes;
} room;

// Bytes of messages that may wait in a class of a model: what waits is kept in memory.
enum { MOST_BYTES_WAITING = 256 << 20 };

typedef enum { OUTSIDE, WAITING, INSIDE } standing;

// A call's place. It stays where it is until it has left.
typedef struct place {
  standing now;
  class of;
  room in;
  size_t bytes;    // of its message
  bool too_large;  // to wait beside the others, and so OUTSIDE
  struct place *before, *behind;
  void (*call_in)(void *whom);  // from any thread, and at most once
  void *whom;
} place;

// The room of a model, one and the same for each of its name; `said` is "most most_waiting" or "most most_waiting most_bytes".
// False where it says something else, or for want of memory. The model's bulkhead stays, whoever is in it.
bool read_room(view model, view said, room *made);

// A place for a call that has none: INSIDE if there is room and nobody waits, else OUTSIDE.
standing take_place(const room *into, class of, place *own);

// For one that stayed OUTSIDE, with `bytes`, `call_in` and `whom` set: INSIDE, or WAITING until it is called in, or OUTSIDE.
standing wait_for_place(place *own);

// Gives the place back, whichever it is; whoever waits longest has it.
void leave_place(place *own);

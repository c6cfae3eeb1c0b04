// The ids of requests.

#pragma once

#include <stdint.h>

enum { ID_LENGTH = 36 };

// Where ids come from. Whoever has seen some of them cannot tell the next: a record with it would shut out the real one.
typedef struct {
  uint8_t origin[32];  // random, known to nobody
  uint64_t count;
} ids;

// Writes the id of the next count, in the form of a random UUID (RFC 9562, version 4), without a NUL behind it.
void next_id(ids *from, char text[ID_LENGTH]);

// This thread's own source, of an origin that no other has. NULL where the machine gives nothing random.
ids *own_ids(void);

// The ids of requests: whoever has seen some cannot tell the next, with which a forged record would shut out the real one.

#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { ID_BYTES = 16, ID_LENGTH = 36 };

// The random UUID (RFC 9562, version 4) of these bytes, without a NUL behind it.
void id_text(const uint8_t random[ID_BYTES], char text[ID_LENGTH]);

// A new one, of bytes that the machine drew. False where it gives none.
bool new_id(char text[ID_LENGTH]);

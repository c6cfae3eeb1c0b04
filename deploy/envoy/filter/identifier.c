#define _POSIX_C_SOURCE 200809L

#include "identifier.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include "sha256.h"

enum { VERSION_BYTE = 6, VARIANT_BYTE = 8, BYTES = 16 };

void next_id(ids *from, char text[ID_LENGTH]) {
  uint8_t hash[HASH_SIZE];
  sha256(from, sizeof *from, hash);
  from->count++;
  hash[VERSION_BYTE] = (uint8_t)((hash[VERSION_BYTE] & 0x0F) | 0x40);
  hash[VARIANT_BYTE] = (uint8_t)((hash[VARIANT_BYTE] & 0x3F) | 0x80);
  for (size_t n = 0; n < BYTES; n++) {
    if (n == 4 || n == 6 || n == 8 || n == 10) *text++ = '-';
    *text++ = "0123456789abcdef"[hash[n] >> 4];
    *text++ = "0123456789abcdef"[hash[n] & 15];
  }
}

ids *own_ids(void) {
  static _Thread_local ids own;
  static _Thread_local bool begun;
  if (begun) return &own;
  int random = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (random < 0) return NULL;
  begun = read(random, own.origin, sizeof own.origin) == (ssize_t)sizeof own.origin;
  close(random);
  return begun ? &own : NULL;
}

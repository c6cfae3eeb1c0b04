#define _POSIX_C_SOURCE 200809L

#include "identifier.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

// One to one, so that counts stay apart; what it makes of neighbours looks unrelated, and so does not tell a caller how
// many calls there were between two of his. The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
static uint64_t scatter(uint64_t number) {
  number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9u;
  number = (number ^ (number >> 27)) * 0x94D049BB133111EBu;
  return number ^ (number >> 31);
}

static char *write_hex(char *at, uint64_t number, int digits) {
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) *at++ = "0123456789abcdef"[(number >> shift) & 15];
  return at;
}

void next_id(ids *from, char text[ID_LENGTH]) {
  uint64_t scattered = scatter(from->origin ^ from->count++), origin = scatter(from->origin);
  // the two bits for which the variant leaves no room below go above, in place of two of the origin
  uint64_t high = (origin & 0xFFFFFFFFFFFF0FFCu) | 0x4000u | scattered >> 62;
  uint64_t low = (scattered & 0x3FFFFFFFFFFFFFFFu) | 0x8000000000000000u;
  char *at = write_hex(text, high >> 32, 8);
  *at++ = '-';
  at = write_hex(at, high >> 16, 4);
  *at++ = '-';
  at = write_hex(at, high, 4);
  *at++ = '-';
  at = write_hex(at, low >> 48, 4);
  *at++ = '-';
  write_hex(at, low, 12);
}

ids *own_ids(void) {
  static _Thread_local ids own;
  static _Thread_local bool begun;
  if (begun) return &own;
  int random = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (random < 0) return NULL;
  begun = read(random, &own.origin, sizeof own.origin) == (ssize_t)sizeof own.origin;
  close(random);
  return begun ? &own : NULL;
}

#define _POSIX_C_SOURCE 200809L

#include "identifier.h"

#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

enum { VERSION_BYTE = 6, VARIANT_BYTE = 8, POOL = 256 * ID_BYTES };

void id_text(const uint8_t random[ID_BYTES], char text[ID_LENGTH]) {
  for (size_t n = 0; n < ID_BYTES; n++) {
    uint8_t byte = random[n];
    if (n == VERSION_BYTE) byte = (uint8_t)((byte & 0x0F) | 0x40);
    if (n == VARIANT_BYTE) byte = (uint8_t)((byte & 0x3F) | 0x80);
    if (n == 4 || n == 6 || n == 8 || n == 10) *text++ = '-';
    *text++ = "0123456789abcdef"[byte >> 4];
    *text++ = "0123456789abcdef"[byte & 15];
  }
}

static size_t draw(uint8_t *pool) {
  int random = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (random < 0) return 0;
  ssize_t drawn = read(random, pool, POOL);
  close(random);
  return drawn < 0 ? 0 : (size_t)drawn;
}

bool new_id(char text[ID_LENGTH]) {
  static _Thread_local uint8_t pool[POOL];  // drawn in advance: for each id alone it would cost a visit to the kernel
  static _Thread_local size_t left;
  if (left < ID_BYTES) left = draw(pool);
  if (left < ID_BYTES) return false;
  left -= ID_BYTES;
  id_text(pool + left, text);
  return true;
}

#include "details.h"

#include <stdint.h>
#include <string.h>

enum { LONGEST = 127, MESSAGE_ROOM = 3 * DETAILS_ROOM / 4 - 3, LENGTH_DELIMITED = 2 };

typedef struct {
  uint8_t bytes[MESSAGE_ROOM];
  size_t size;
} message;

// A field whose length takes one byte, or two where it must.
static void put_field(message *into, int number, const void *bytes, size_t size) {
  if (into->size + size + 3 > MESSAGE_ROOM) {
    into->size = MESSAGE_ROOM + 1;
    return;
  }
  into->bytes[into->size++] = (uint8_t)(number << 3 | LENGTH_DELIMITED);
  if (size > LONGEST) into->bytes[into->size++] = (uint8_t)(size | 0x80);
  into->bytes[into->size++] = (uint8_t)(size > LONGEST ? size >> 7 : size);
  memcpy(into->bytes + into->size, bytes, size);
  into->size += size;
}

static bool fits(const message *made) { return made->size <= MESSAGE_ROOM; }

static size_t write_base64(const message *of, char *at) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t written = 0;
  for (size_t n = 0; n < of->size; n += 3) {
    size_t have = of->size - n < 3 ? of->size - n : 3;
    uint32_t bits = 0;
    for (size_t m = 0; m < 3; m++) bits = bits << 8 | (m < have ? of->bytes[n + m] : 0);
    for (size_t m = 0; m <= have; m++) at[written++] = letters[bits >> (18 - 6 * m) & 63];
  }
  return written;  // without padding, as gRPC has it
}

view details_of(int status, const char *reason, const char *text, char room[DETAILS_ROOM]) {
  static const char type[] = "type.googleapis.com/google.rpc.ErrorInfo";
  message info = {.size = 0}, any = {.size = 0}, whole = {.size = 0};
  put_field(&info, 1, reason, strlen(reason));
  put_field(&info, 2, "penstock", 8);
  put_field(&any, 1, type, sizeof type - 1);
  if (fits(&info)) put_field(&any, 2, info.bytes, info.size);
  whole.bytes[whole.size++] = 1 << 3;  // the code, a varint
  whole.bytes[whole.size++] = (uint8_t)status;
  put_field(&whole, 2, text, strlen(text));
  if (fits(&any) && fits(&whole)) put_field(&whole, 3, any.bytes, any.size);
  bool good = fits(&info) && fits(&any) && fits(&whole);
  return (view){room, good ? write_base64(&whole, room) : 0};
}

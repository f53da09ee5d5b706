/* Where a vendor's Wi-Fi library plugs into otaapp (feature `vendor-link`).
 *
 * The functions below are called by otaapp and provided by whoever links it with
 * the library. All are called from one thread, never from an interrupt handler,
 * and none may wait: otaapp calls them over and over. Frames are Ethernet frames
 * without their check sequence, 14 to 1514 bytes. The address comes by DHCP,
 * which is otaapp's business. */
#ifndef UOTA_LINK_H
#define UOTA_LINK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The station's hardware address. Called once, before everything else. */
void uota_link_address(uint8_t address[6]);

/* Starts to join a network. ssid (at most 32 bytes) and password (at most 64)
 * end in a NUL and are valid during the call only.
 * 0: on its way; anything else: refused. */
int uota_link_connect(const char *ssid, const char *password);

/* Leaves the network. */
void uota_link_disconnect(void);

/* Not 0 while frames can be exchanged. */
int uota_link_is_up(void);

/* Sends a frame; the bytes are copied before it returns.
 * 0: taken; anything else: dropped (TCP will send it again). */
int uota_link_send(const uint8_t *frame, size_t length);

/* Copies the oldest frame that came in to `frame`, which has room for `room`
 * bytes (1514). Its length, 0 when there is none. A longer one is dropped. */
size_t uota_link_recv(uint8_t *frame, size_t room);

#ifdef __cplusplus
}
#endif
#endif

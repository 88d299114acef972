//! What crosses by pointer: buffers, their tables, addresses.

use libc::{c_void, iovec, sockaddr, socklen_t};
use packetdrill::call::{Address, Data, Room};
use std::ptr;

/// Bytes at `at`, copied.
///
/// # Safety
/// `at` is null or readable for `len` bytes.
pub(super) unsafe fn bytes_at(at: *const c_void, len: usize) -> Data {
    if at.is_null() {
        return Data::Null(len);
    }
    // SAFETY: the caller's promise.
    Data::Bytes(unsafe { std::slice::from_raw_parts(at.cast::<u8>(), len) }.to_vec())
}

pub(super) fn room_at(at: *const c_void, len: usize) -> Room {
    if at.is_null() { Room::Null(len) } else { Room::Bytes(len) }
}

/// Copies `bytes` to `at`, no more than `room`.
///
/// # Safety
/// `at` is null or writable for `room` bytes.
pub(super) unsafe fn put(at: *mut c_void, room: usize, bytes: &[u8]) {
    if !at.is_null() {
        // SAFETY: the caller's promise; the count is at the most `room`.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast(), bytes.len().min(room)) };
    }
}

/// The pieces of an iovec array.
///
/// # Safety
/// `iov` is null or points to `count` pieces.
pub(super) unsafe fn pieces_at<'a>(iov: *const iovec, count: usize) -> &'a [iovec] {
    if iov.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(iov, count) }
}

pub(super) fn rooms(iov: &[iovec]) -> Vec<Room> {
    iov.iter().map(|piece| room_at(piece.iov_base, piece.iov_len)).collect()
}

/// # Safety
/// Each piece is null or readable for its length.
pub(super) unsafe fn data(iov: &[iovec]) -> Vec<Data> {
    // SAFETY: the caller's promise.
    iov.iter().map(|piece| unsafe { bytes_at(piece.iov_base, piece.iov_len) }).collect()
}

/// Spreads bytes over pieces in order.
///
/// # Safety
/// Each piece is null or writable for its length.
pub(super) unsafe fn spread(iov: &[iovec], mut bytes: &[u8]) {
    for piece in iov {
        let (now, later) = bytes.split_at(bytes.len().min(piece.iov_len));
        // SAFETY: the caller's promise.
        unsafe { put(piece.iov_base, piece.iov_len, now) };
        bytes = later;
    }
}

/// Reads a socket address.
///
/// # Safety
/// `at` is null or readable for `len` bytes.
pub(super) unsafe fn address_at(at: *const sockaddr, len: socklen_t) -> Address {
    // SAFETY: the caller's promise; no address has more than 128 bytes.
    match unsafe { bytes_at(at.cast(), len.min(128) as usize) } {
        Data::Bytes(bytes) => Address::from_bytes(&bytes, len),
        Data::Null(0) => Address::from_bytes(&[], len),
        Data::Null(_) => Address::Null,
    }
}

/// Writes an address as the kernel does: cut to the room, with its full length told.
///
/// # Safety
/// `len` is null or points to the room at `at` in bytes.
pub(super) unsafe fn put_address(at: *mut sockaddr, len: *mut socklen_t, bytes: &[u8]) {
    if len.is_null() || at.is_null() {
        return;
    }
    // SAFETY: the caller's promise.
    unsafe {
        put(at.cast(), *len as usize, bytes);
        *len = bytes.len() as socklen_t;
    }
}

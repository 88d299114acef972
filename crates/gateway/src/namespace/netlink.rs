//! The few requests to the kernel's rtnetlink that a new namespace needs.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Bytes of an answer at the most: an acknowledgement repeats the request.
const ANSWER: usize = 4096;

/// A connection to rtnetlink, in the network namespace of the thread that opened it. Its calls wait for the kernel's
/// answer, which comes at once.
pub(crate) struct Netlink {
    socket: Socket,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket })
    }

    /// Brings an interface up.
    pub(crate) fn up(&self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Has the kernel make no link-local address of its own, and so send no router solicitation.
    pub(crate) fn no_link_local(&self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes =
            vec![LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
                In6AddrGenMode::None,
            )])])];
        self.request(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Moves an interface into another network namespace. It loses its addresses and its state.
    pub(crate) fn move_to(&self, index: u32, namespace: BorrowedFd<'_>) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes = vec![LinkAttribute::NetNsFd(namespace.as_raw_fd())];
        self.request(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Adds an address; an IPv6 address is usable without a question to the neighbours, of whom there are none.
    pub(crate) fn add_address(&self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = prefix;
        message.header.family = AddressFamily::Inet;
        message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
        if address.is_ipv6() {
            message.header.family = AddressFamily::Inet6;
            message.header.flags = AddressHeaderFlags::Nodad;
        }
        self.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a default route through a point-to-point interface, which needs no gateway; if one is named, it is shown.
    pub(crate) fn default_route(
        &self,
        family: AddressFamily,
        index: u32,
        gateway: Option<IpAddr>,
    ) -> io::Result<()> {
        let mut route = route_by(index, family, 0);
        route.attributes.extend(gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        self.request(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a route to a network, through a point-to-point interface.
    pub(crate) fn add_route(&self, index: u32, network: IpAddr, prefix: u8) -> io::Result<()> {
        let route = route_to(index, network, prefix);
        self.request(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes such a route.
    pub(crate) fn remove_route(&self, index: u32, network: IpAddr, prefix: u8) -> io::Result<()> {
        self.request(RouteNetlinkMessage::DelRoute(route_to(index, network, prefix)), 0)
    }

    fn request(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answer = Vec::with_capacity(ANSWER);
        self.socket.recv(&mut answer, 0)?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_none() => Ok(()),
            NetlinkPayload::Error(error) => Err(error.to_io()),
            other => Err(io::Error::other(format!("unexpected answer of rtnetlink: {other:?}"))),
        }
    }
}

fn route_by(index: u32, family: AddressFamily, prefix: u8) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: family,
        destination_prefix_length: prefix,
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Boot,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Oif(index)];
    route
}

fn route_to(index: u32, network: IpAddr, prefix: u8) -> RouteMessage {
    let family = if network.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let mut route = route_by(index, family, prefix);
    route.attributes.push(RouteAttribute::Destination(network.into()));
    route
}

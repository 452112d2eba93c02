// SPDX-License-Identifier: GPL-2.0
//
// java Echo.java server PORT blocking|nio - sends everything back
// java Echo.java client PORT blocking|nio CONNECTIONS BYTES - last line: connections that were right
import java.io.DataInputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.Arrays;
import java.util.Random;

public class Echo {
    static InetSocketAddress at;

    public static void main(String[] words) throws Exception {
        at = new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(words[1]));
        boolean nio = words[2].equals("nio");
        if (words[0].equals("server")) {
            if (nio)
                serveNio();
            else
                serve();
        }
        int connections = Integer.parseInt(words[3]), bytes = Integer.parseInt(words[4]);
        int[] right = new int[1];
        if (nio) {
            right[0] = exchangeNio(connections, bytes);
        } else {
            Thread[] threads = new Thread[connections];
            for (int i = 0; i < connections; i++) {
                int number = i;
                threads[i] = new Thread(() -> {
                    boolean good = exchange(number, bytes);
                    synchronized (right) { right[0] += good ? 1 : 0; }
                });
                threads[i].start();
            }
            for (Thread thread : threads)
                thread.join();
        }
        System.out.println(right[0]);
        System.exit(0);
    }

    static byte[] data(int number, int bytes) {
        byte[] all = new byte[bytes];
        new Random(number).nextBytes(all);
        return all;
    }

    static void serve() throws Exception {
        ServerSocket listener = new ServerSocket(at.getPort(), 50, at.getAddress());
        System.out.println("ready");
        for (;;) {
            Socket socket = listener.accept();
            new Thread(() -> {
                try (socket) {
                    socket.getInputStream().transferTo(socket.getOutputStream());
                } catch (Exception error) {
                    error.printStackTrace();
                }
            }).start();
        }
    }

    static boolean exchange(int number, int bytes) {
        try (Socket socket = new Socket(at.getAddress(), at.getPort())) {
            socket.setTcpNoDelay(true);
            byte[] all = data(number, bytes), back = new byte[bytes];
            OutputStream out = socket.getOutputStream();
            DataInputStream in = new DataInputStream(socket.getInputStream());
            int head = Math.min(2000, bytes);
            for (int i = 0; i < head; i += 100) {
                out.write(all, i, 100);
                in.readFully(back, i, 100);
            }
            Thread writer = new Thread(() -> {
                try {
                    out.write(all, head, bytes - head);
                    socket.shutdownOutput();
                } catch (Exception error) {
                    error.printStackTrace();
                }
            });
            writer.start();
            in.readFully(back, head, bytes - head);
            writer.join();
            return in.read() == -1 && Arrays.equals(all, back);
        } catch (Exception error) {
            error.printStackTrace();
            return false;
        }
    }

    static void serveNio() throws Exception {
        Selector selector = Selector.open();
        ServerSocketChannel listener = ServerSocketChannel.open().bind(at);
        listener.configureBlocking(false);
        listener.register(selector, SelectionKey.OP_ACCEPT);
        System.out.println("ready");
        for (;;) {
            selector.select();
            for (SelectionKey key : selector.selectedKeys()) {
                if (key.isAcceptable()) {
                    SocketChannel accepted = listener.accept();
                    accepted.configureBlocking(false);
                    accepted.register(selector, SelectionKey.OP_READ, ByteBuffer.allocateDirect(65536));
                    continue;
                }
                SocketChannel channel = (SocketChannel) key.channel();
                ByteBuffer buffer = (ByteBuffer) key.attachment();
                if (key.isReadable() && channel.read(buffer) < 0) {
                    key.cancel();
                    channel.close();
                    continue;
                }
                buffer.flip();
                channel.write(buffer);
                buffer.compact();
                key.interestOps((buffer.position() > 0 ? SelectionKey.OP_WRITE : 0)
                                | (buffer.hasRemaining() ? SelectionKey.OP_READ : 0));
            }
            selector.selectedKeys().clear();
        }
    }

    record Half(int number, ByteBuffer out, ByteBuffer in) {}

    static int exchangeNio(int connections, int bytes) throws Exception {
        Selector selector = Selector.open();
        for (int i = 0; i < connections; i++) {
            SocketChannel channel = SocketChannel.open();
            channel.configureBlocking(false);
            channel.connect(at);
            channel.register(selector, SelectionKey.OP_CONNECT,
                             new Half(i, ByteBuffer.wrap(data(i, bytes)), ByteBuffer.allocateDirect(bytes)));
        }
        int left = connections, right = 0;
        while (left > 0) {
            selector.select();
            for (SelectionKey key : selector.selectedKeys()) {
                SocketChannel channel = (SocketChannel) key.channel();
                Half half = (Half) key.attachment();
                if (key.isConnectable() && channel.finishConnect())
                    key.interestOps(SelectionKey.OP_READ | SelectionKey.OP_WRITE);
                if (key.isValid() && key.isWritable()) {
                    channel.write(half.out());
                    if (!half.out().hasRemaining())
                        key.interestOps(SelectionKey.OP_READ);
                }
                if (key.isReadable()) {
                    channel.read(half.in());
                    if (!half.in().hasRemaining()) {
                        byte[] back = new byte[bytes];
                        half.in().flip().get(back);
                        right += Arrays.equals(back, data(half.number(), bytes)) ? 1 : 0;
                        left--;
                        channel.close();
                    }
                }
            }
            selector.selectedKeys().clear();
        }
        return right;
    }
}

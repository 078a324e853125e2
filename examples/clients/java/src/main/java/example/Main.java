package example;

import com.google.protobuf.ByteString;
import dibs.v1.BrokerServiceGrpc;
import dibs.v1.Content;
import dibs.v1.EnqueueItem;
import dibs.v1.EnqueueRequest;
import dibs.v1.ItemResult;
import dibs.v1.QueueKind;
import dibs.v1.ResultRequest;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/** Enqueues one task and prints the state in which the broker has it. */
public final class Main {
  public static void main(String[] arguments) throws InterruptedException {
    String target = arguments.length > 0 ? arguments[0] : "127.0.0.1:7411";
    ManagedChannel channel = ManagedChannelBuilder.forTarget(target).usePlaintext().build();
    try {
      var broker = BrokerServiceGrpc.newBlockingStub(channel).withDeadlineAfter(30, TimeUnit.SECONDS);

      // An id of our own, and one for the request: so the call may be made again when its reply is lost.
      String id = "java-" + UUID.randomUUID();
      Content content =
          Content.newBuilder()
              .setTaskName("greet")
              .setPayload(ByteString.copyFromUtf8("{\"args\":[\"Ada\"]}"))
              .build();
      EnqueueItem item =
          EnqueueItem.newBuilder()
              .setId(id)
              .setQueue("greetings")
              .setKind(QueueKind.QUEUE_KIND_TASK)
              .setContent(content)
              .build();
      broker.enqueue(EnqueueRequest.newBuilder().setRequestId(id).addItems(item).build());

      ItemResult result = broker.result(ResultRequest.newBuilder().addIds(id).build()).getResults(0);
      System.out.println(result.getId() + " " + result.getState());
    } finally {
      channel.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
    }
  }
}

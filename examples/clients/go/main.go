// Enqueues one task and prints the state in which the broker has it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	dibs "example.com/dibs-client/gen/dibs/v1"
)

func main() {
	target := "127.0.0.1:7411"
	if len(os.Args) > 1 {
		target = os.Args[1]
	}
	if err := run(target); err != nil {
		log.Fatal(err)
	}
}

func run(target string) error {
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	broker := dibs.NewBrokerServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	// An id of our own, and one for the request: so the call may be made again when its reply is lost.
	id := fmt.Sprintf("go-%d", time.Now().UnixNano())
	_, err = broker.Enqueue(ctx, &dibs.EnqueueRequest{
		RequestId: id,
		Items: []*dibs.EnqueueItem{{
			Id:      id,
			Queue:   "greetings",
			Kind:    dibs.QueueKind_QUEUE_KIND_TASK,
			Content: &dibs.Content{TaskName: "greet", Payload: []byte(`{"args":["Ada"]}`)},
		}},
	})
	if err != nil {
		return err
	}

	reply, err := broker.Result(ctx, &dibs.ResultRequest{Ids: []string{id}})
	if err != nil {
		return err
	}
	fmt.Println(reply.Results[0].Id, reply.Results[0].State)
	return nil
}
